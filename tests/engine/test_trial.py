"""Before the first step the smallest subnet is tried, and leaves no trace."""

import random
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from torch import nn

from mmst.engine import trial
from mmst.engine.preserve_training import preserve_training
from mmst.engine.space_report import make_blank_image
from mmst.subnets import get_active_subnet
from tests.conftest import classifier


def loader(length, **options):
    return dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='TinyImages', length=length),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        **options,
    )


@MODELS.register_module(force=True)
class Neck(nn.Module):
    """Pools, after something that fails in some way."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.count = 0

    def forward(self, features):
        (feature,) = features
        self.count += 1
        if self.fault == 'queries':  # as of a detector with five queries
            scores = feature.mean(1).flatten(1)
            feature = feature * scores.topk(5).values.mean()
        if self.fault == 'subnets' and get_active_subnet():
            raise RuntimeError('no subnets here')
        if self.fault == 'later' and self.count == 4 + 3:
            raise RuntimeError('no room')
        return (feature.mean((2, 3)),)


def with_neck(fault):
    return dict(classifier(norm='GN'), neck=dict(type='Neck', fault=fault))


def test_last_batch_of_one(tiny_runner):
    """At 3 px of 16 the last stage has one pixel, and BatchNorm one value."""
    sampler = dict(num_subnets=1, sizes=[3, 16])
    runner = tiny_runner('a', sampler=sampler, train_dataloader=loader(13))
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.model.init_weights = lambda: None
    with pytest.raises(
        ValueError,
        match='1 of 4 images .*subnet 1-1-1 at 3 px: ValueError: Expected '
        'more than 1 value .*drop_last=True in train_dataloader, or raise '
        'the smallest size .*now 3, 16 px',
    ):
        runner.train()
    assert runner.iter == 0
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for length, options in ((13, dict(drop_last=True)), (14, {})):
        runner = tiny_runner(
            f'b{length}',
            sampler=sampler,
            train_dataloader=loader(length, **options),
        )
        runner.train()


def test_more_than_the_backbone_is_tried(tiny_runner):
    sampler = dict(num_subnets=1, size_range=(8, 16))
    runner = tiny_runner(model=with_neck('queries'), sampler=sampler)
    with pytest.raises(
        ValueError,
        match='subnets of 8 px are too small: subnet 1-1-1 at 8 px: Runtime'
        'Error: .*Raise the smallest size .*now 8 to 16 px',
    ):
        runner.train()
    assert runner.iter == 0
    sampler = dict(num_subnets=1, size_range=(12, 16))
    tiny_runner('b', model=with_neck('queries'), sampler=sampler).train()


def test_other_errors_keep_their_words(tiny_runner):
    """The size is not to blame: it fails at the main input's, too."""
    runner = tiny_runner(
        model=with_neck('subnets'),
        sampler=dict(num_subnets=1, size_range=(8, 16)),
    )
    with pytest.raises(
        RuntimeError, match=r'^subnet 0 \(1-1-1.*\): no subnets here$'
    ):
        runner.train()


def test_later_exception_names_iteration_subnet_and_size(tiny_runner):
    """In the 3rd pass of the 2nd iteration."""
    runner = tiny_runner(
        model=with_neck('later'),
        sampler=dict(num_subnets=3, space=[1, 1, 1], sizes=[12]),
    )
    with pytest.raises(
        RuntimeError,
        match=r'^iteration 2: subnet 1 \(3-3-3 at 12 px\): no room$',
    ):
        runner.train()


def test_training_is_what_it_is_without_a_trial(tiny_runner, monkeypatch):
    """Bit for bit, with dropout; the trial did run."""
    tried, weights = [], []
    run = trial.SubnetTrial.run

    def count(self):
        tried.append(self)
        run(self)

    for name, method in (('a', count), ('b', lambda self: None)):
        monkeypatch.setattr(trial.SubnetTrial, 'run', method)
        runner = tiny_runner(
            name,
            model=classifier(dropout=0.5),
            sampler=dict(num_subnets=2, size_range=(8, 16)),
            max_epochs=1,
        )
        runner.train()
        weights.append(runner.model.state_dict())
    assert len(tried) == 1
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


class Forgetful(nn.Module):
    """Writes into all that a module may have."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer('queue', torch.zeros(2))
        self.register_buffer('hidden', torch.zeros(2), persistent=False)
        self.history, self.table = [torch.zeros(1)], dict(a=[1])
        self.recent, self.seen, self.steps = deque([1], 3), {1}, 0

    def forward(self):
        self.weight.data.mul_(2)
        self.queue += 1
        self.hidden = self.hidden + 1
        self.history[0] += 1
        self.history.append(2)
        self.table['a'].append(2)
        self.recent.append(2)
        self.seen.add(2)
        self.steps += 1
        self.added = torch.rand(1)
        random.random(), np.random.rand()
        MessageHub.get_current_instance().update_info('mine', 1)
        self.register_forward_hook(lambda *_: None)


def test_leaves_no_trace():
    model = nn.Sequential(Forgetful())
    (module,) = model
    weight, names = module.weight, set(vars(module))

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = draw()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    with preserve_training(model):
        module()
        module()
    assert draw() == expected
    assert module.weight is weight and weight.tolist() == [1, 1]
    assert module.queue.tolist() == module.hidden.tolist() == [0, 0]
    assert module.history == [torch.zeros(1)] and module.table == dict(a=[1])
    assert list(module.recent) == [1] and module.recent.maxlen == 3
    assert module.seen == {1} and module.steps == 0
    assert set(vars(module)) == names and not module._forward_hooks
    assert MessageHub.get_current_instance().get_info('mine') is None


def test_report_tells_what_the_preprocessor_gives():
    """Crops of 20 x 30 px, which mmseg pads to a fixed size."""
    pytest.importorskip('mmseg')
    from mmengine.structures import PixelData
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample

    sample = SegDataSample(
        metainfo=dict(img_shape=(20, 30)),
        gt_sem_seg=PixelData(data=torch.zeros(1, 20, 30)),
    )
    data = dict(inputs=[torch.ones(3, 20, 30)], data_samples=[sample])
    model = nn.Module()
    model.data_preprocessor = SegDataPreProcessor(size=(96, 128))
    assert make_blank_image(model, data).shape == (1, 3, 96, 128)
    assert sample.gt_sem_seg.shape == (20, 30)  # stays as it came


def test_padded_input_is_not_too_small(tiny_runner):
    """3 px that the preprocessor makes 16 of; cost is that of 16."""
    model = classifier()
    model['data_preprocessor']['pad_size_divisor'] = 32
    runner = tiny_runner(model=model, sampler=dict(sizes=[0.5]), max_epochs=1)
    runner.train()
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert '(main input: 32 px' in log
