"""The first iteration is rehearsed on a copy, and leaves no trace."""

import random
import re

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from torch import nn

from mmst.engine import loops
from mmst.subnets import get_active_subnet
from tests.conftest import classifier, loader, read_log
from tests.targets.snapshot import assert_same, snapshot


@MODELS.register_module(force=True)
class Neck(nn.Module):
    """Pools, after something that fails in some way."""

    passes = 0

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, features):
        (feature,) = features
        if self.fault == 'queries':  # as of a detector with five queries
            scores = feature.mean(1).flatten(1)
            feature = feature * scores.topk(5).values.mean()
        if self.fault == 'subnets' and get_active_subnet():
            raise RuntimeError('no subnets here')
        if self.fault == 'later' and torch.is_grad_enabled():
            self.passes += 1  # of this model, not of copies
            if self.passes == 4 + 3:
                raise RuntimeError('no room')
        return (feature.mean((2, 3)),)


def with_neck(fault):
    return dict(classifier(norm='GN'), neck=dict(type='Neck', fault=fault))


def test_last_batch_of_one(tiny_runner):
    """At 3 px of 16 the last stage has one pixel, and BatchNorm one value."""
    sampler = dict(num_subnets=1, sizes=[3, 16])
    runner = tiny_runner(
        'a', sampler=sampler, train_dataloader=loader(length=13)
    )
    before = snapshot(dict(runner.model.state_dict()))
    runner.model.init_weights = lambda: None
    told = (
        '1 of 4 images .*subnet 1-1-1 at 3 px: ValueError: Expected more than '
        '1 value .*drop_last=True in train_dataloader, or raise the smallest '
        'size .*now 3, 16 px'
    )
    with pytest.raises(ValueError, match=told):
        runner.train()
    assert runner.iter == 0
    assert_same(snapshot(dict(runner.model.state_dict())), before)
    for data in (dict(loader(length=13), drop_last=True), loader(length=14)):
        options = dict(max_epochs=1, train_dataloader=data)
        tiny_runner('b', sampler=sampler, **options).train()


def test_more_than_the_backbone_is_tried(tiny_runner):
    sampler = dict(num_subnets=1, size_range=(8, 16))
    runner = tiny_runner(model=with_neck('queries'), sampler=sampler)
    told = (
        r'subnets of \d+ px are too small: subnet \S+ at \d+ px: '
        'RuntimeError: .*Raise the smallest size .*now 8 to 16 px'
    )
    with pytest.raises(ValueError, match=told):
        runner.train()
    assert runner.iter == 0
    sampler = dict(num_subnets=1, size_range=(12, 16))
    tiny_runner('b', with_neck('queries'), sampler, max_epochs=1).train()


def test_less_than_half_a_cell_is_too_small(tiny_runner):
    """A stride of 4, in a network whose padding gives it a cell anyway."""
    model = classifier(norm='GN')
    tiny_runner('a', model, dict(sizes=[2]), max_epochs=1).train()
    told = 'subnets of 1 px are too small: .*: 0.25 cells are left of'
    with pytest.raises(ValueError, match=told):
        tiny_runner('b', model, dict(sizes=[1.0 / 16])).train()


def test_other_errors_keep_their_words(tiny_runner):
    """The size is not to blame: it fails at the main input's, too."""
    runner = tiny_runner(
        model=with_neck('subnets'),
        sampler=dict(num_subnets=1, size_range=(8, 16)),
    )
    told = r'^subnet \d-\d-\d at \d+ px: no subnets here$'
    with pytest.raises(RuntimeError, match=told):
        runner.train()


def test_later_exception_names_iteration_subnet_and_size(tiny_runner):
    """In the 3rd pass of the 2nd iteration."""
    runner = tiny_runner(
        model=with_neck('later'),
        sampler=dict(num_subnets=3, space=[1, 1, 1], sizes=[12]),
    )
    told = r'^iteration 2: subnet 1 \(3-3-3 at 12 px\): no room$'
    with pytest.raises(RuntimeError, match=told):
        runner.train()


@MODELS.register_module(force=True)
class Writer(nn.Module):
    """Pools, and writes into all that a pass could leave something in."""

    def __init__(self):
        super().__init__()
        self.register_buffer('queue', torch.zeros(2))
        self.history = []

    def forward(self, features):
        self.queue += 1
        self.history.append(1)
        random.random(), np.random.rand(), torch.rand(1)
        hub = MessageHub.get_current_instance()
        hub.update_info('seen', hub.get_info('seen', 0) + 1)
        hub.update_scalar('train/own', hub.get_info('seen'))
        return (features[-1].mean((2, 3)),)


def test_leaves_no_trace(tiny_runner, monkeypatch):
    """In model, generators and message hub, nor do subnets in the hub."""
    runner = tiny_runner(
        model=dict(classifier(), neck=dict(type='Writer')),
        sampler=dict(num_subnets=2, size_range=(8, 16), begin=1),
    )
    states = []

    def read_state():
        state = [
            dict(runner.model.state_dict()),
            runner.model.neck.history,
            [p.grad for p in runner.model.parameters()],
            random.getstate(),
            np.random.get_state()[1],
            torch.get_rng_state(),
        ]
        states.append(snapshot(state))

    def watch(*args):
        read_state()
        findings = rehearse(*args)
        read_state()
        return findings

    rehearse = loops.rehearse
    monkeypatch.setattr(loops, 'rehearse', watch)
    runner.train()
    before, after = states  # rehearsed once
    assert_same(before, after)
    # 6 iterations, 3 of these of 3 passes; the hub has the main network's.
    assert len(runner.model.neck.history) == 12
    hub = MessageHub.get_current_instance()
    assert hub.get_info('seen') == 6
    history, _ = hub.get_scalar('train/own').data
    assert history.tolist() == [1, 2, 3, 4, 5, 6]


class Chancy(nn.Module):
    """A block that draws by itself, from NumPy."""

    downsample = None

    def forward(self, x):
        return x * (1 + np.random.rand())


def test_passes_run_apart_where_sharing_would_be_wrong(tiny_runner):
    runner = tiny_runner(sampler=dict(num_subnets=2, space=[1, 3, 3]))
    model = runner.model
    model.backbone.layer1[1] = Chancy()
    # With the first weights all networks agree, whatever they draw.
    model.init_weights = lambda: None
    model.head.fc.weight.data.mul_(100)
    conv = model.backbone.layer1[0].conv1
    forward, calls = conv.forward, []
    conv.forward = lambda x: calls.append(1) or forward(x)
    runner.train()
    text = read_log(runner)
    assert re.search(
        'Each pass runs by itself: sharing blocks would be wrong here: the '
        'loss of .* when passes share, and .* apart',
        text,
    )
    assert re.search(r'Rehearsed one iteration on a copy in [\d.]+ s', text)
    # The first block runs in each of 3 passes of 6 iterations. (The copy
    # calls the same function.)
    assert len(calls) >= 18


def test_model_that_cannot_be_copied_trains_apart(tiny_runner):
    runner = tiny_runner(sampler=dict(num_subnets=2))
    runner.model.locked = (i for i in range(3))
    runner.train()
    text = read_log(runner)
    assert 'ImageClassifier cannot be copied to rehearse' in text
    assert runner.iter == 6
    assert runner.train_loop.why_apart == 'the model cannot be copied'


def test_names_of_losses_that_the_log_needs(tiny_runner):
    runner = tiny_runner(sampler=dict(num_subnets=1))
    loss = type(runner.model).loss
    runner.model.loss = lambda *args: {
        **loss(runner.model, *args),
        'main_loss': torch.ones(()),
    }
    with pytest.raises(ValueError, match='named `main_loss`.*rename'):
        runner.train()
    assert runner.iter == 0


def test_report_is_of_what_the_preprocessor_gives(tiny_runner):
    """The cost of 32 px, which it makes of 16, and what would be enlarged."""
    model = classifier()
    model['data_preprocessor']['pad_size_divisor'] = 32
    sampler = dict(size_range=(12, 40))
    runner = tiny_runner(model=model, sampler=sampler, max_epochs=1)
    runner.train()
    text = read_log(runner)
    assert '(main input: 32 px' in text
    assert 'subnets of more than 32 px, up to 40, get enlarged' in text
