"""Whole runs: plain training, resuming, checkpoints, and what is refused."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS

from mmst.checkpoints.safe_load import safe_load
from tests.conftest import classifier, logged

OFF = dict(num_subnets=0)
SAMPLER = dict(num_subnets=2, min_depth=1, size_range=(0.5, 1.0))
LOOPS = ['mmst.STEpochBasedTrainLoop', 'mmst.STIterBasedTrainLoop']


def weights(runner):
    return runner.model.state_dict()


def assert_equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('loop', LOOPS)
def test_no_subnets_is_plain_training(tiny_runner, loop):
    """Contract 1: K = 0 is MMEngine's own run, bit for bit."""
    plain = tiny_runner(
        'plain',
        classifier(st=False, dropout=0.2),
        loop=loop.replace('mmst.ST', ''),
    )
    plain.train()
    st = tiny_runner('st', classifier(dropout=0.2), OFF, loop=loop)
    st.train()
    assert_equal(weights(plain), weights(st))
    assert_equal(
        *(run.optim_wrapper.state_dict()['state'] for run in (plain, st))
    )


class Watch(Hook):
    """Keeps what a loop tells its hooks."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.iter, batch_idx, len(data_batch['inputs'])))

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.before_train_iter(runner, batch_idx, data_batch)
        assert 'loss' in outputs


@pytest.mark.parametrize('loop', LOOPS)
def test_hooks_are_told_what_plain_loops_tell(tiny_runner, loop):
    told = []
    for st, kind in ((False, loop.replace('mmst.ST', '')), (True, loop)):
        sampler, watch = SAMPLER if st else None, Watch()
        runner = tiny_runner(f'{st}', classifier(st=st), sampler, loop=kind)
        runner.register_hook(watch)
        runner.train()
        told.append(watch.seen)
    assert told[0] == told[1] and len(told[0]) == 12


def test_loop_hands_on_update_running_stats(tiny_runner):
    loop = dict(type=LOOPS[0], max_epochs=1, update_running_stats=True)
    runner = tiny_runner(sampler=SAMPLER, train_cfg=loop)
    runner.train()
    # 3 iterations of a main pass and 2 subnets.
    assert runner.model.backbone.norm1.num_batches_tracked == 9


@pytest.mark.parametrize(
    'loop, num_workers',
    [
        (LOOPS[0], 0),
        pytest.param(LOOPS[0], 2, marks=pytest.mark.slow),
        # Skipping over seen batches would draw in the main process.
        (LOOPS[1], 2),
    ],
)
def test_resumed_run_equals_the_uninterrupted(tiny_runner, loop, num_workers):
    """Contract 7, with dropout and random augmentation."""
    # ReseedHook is needed: without it the two runs differ.
    options = dict(
        model=classifier(dropout=0.2),
        sampler=SAMPLER,
        loop=loop,
        hooks=[dict(type='mmst.ReseedHook')],
        num_workers=num_workers,
        max_epochs=4,
    )
    whole = tiny_runner('whole', **options)
    whole.train()

    class Stop(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 7:
                raise KeyError('stopped')

    stopped = tiny_runner('stopped', **options)
    stopped.register_hook(Stop(), priority='HIGHEST')
    with pytest.raises(KeyError, match='stopped'):
        stopped.train()
    resumed = tiny_runner('stopped', resume=True, **options)
    with safe_load():
        resumed.train()
    assert resumed.iter == whole.iter == 12
    assert_equal(weights(whole), weights(resumed))
    for runner in (whole, stopped, resumed):
        # Left to the garbage collector, each worker would take 5 seconds.
        vars(runner.train_loop).pop('dataloader_iterator', None)


def test_resumed_log_has_no_subnet_that_is_not_trained(tiny_runner):
    tiny_runner('run', sampler=dict(num_subnets=3), max_epochs=1).train()
    resumed = tiny_runner(
        'run', sampler=dict(num_subnets=1), max_epochs=2, resume=True
    )
    with safe_load():
        resumed.train()
    first, *_, last = logged(resumed.work_dir)
    assert 'subnet2_loss' in first
    assert [name for name in last if 'subnet' in name] == ['subnet0_loss']


def test_late_begin_starts_like_plain_training(tiny_runner):
    plain = tiny_runner('plain', classifier(), OFF, max_epochs=1)
    plain.train()
    late = tiny_runner('late', classifier(), dict(num_subnets=1, begin=1))
    seen, step = [], late.train_loop.run_iter

    def watch(*args):
        if late.iter == 3:
            assert_equal(weights(plain), weights(late))
        step(*args)
        seen.append(len(late.train_loop.subnets))

    late.train_loop.run_iter = watch
    late.train()
    assert seen == [0, 0, 0, 1, 1, 1]


def test_log_names_losses_depths_and_sizes(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, max_epochs=1)
    runner.train()
    lines = logged(runner.work_dir)
    names = 'main_loss', 'subnet0_loss', 'subnet1_loss'
    total = sum(lines[0][name] for name in names)
    assert lines[0]['loss'] == pytest.approx(total, rel=1e-5)
    # Apart: the toolboxes' readers take each line of the one file for one of
    # training or validation.
    assert all('loss' in line for line in lines)
    drawn = logged(runner.work_dir, 'subnets.json')[0]
    sampler = next(h.sampler for h in runner.hooks if hasattr(h, 'sampler'))
    for k, subnet in enumerate(sampler.draw(drawn['step'] - 1)):
        assert drawn[f'subnet{k}_size'] == subnet.size
        for i, depth in enumerate(subnet.depths, 1):
            assert drawn[f'subnet{k}_depth_layer{i}'] == depth


VGG = dict(type='VGG', depth=11, num_classes=-1)


@pytest.mark.parametrize(
    'spoil, message',
    [
        (
            dict(sampler=dict(min_depth=[1, 2])),
            r'min_depth \[1, 2\] has 2 entries, but the network has 3 stages',
        ),
        (dict(sampler=dict(begin=1), loop=LOOPS[1]), 'by_epoch=False'),
        (
            dict(sampler=dict(), loop='EpochBasedTrainLoop'),
            "sets EpochBasedTrainLoop: set .*STEpochBasedTrainLoop'",
        ),
        (dict(), 'add .*mmst.SubnetSamplerHook'),
        (
            dict(sampler=dict(), model=classifier(st=False)),
            r'model.head is LinearClsHead: .*mmst.STClsHead',
        ),
        (
            dict(sampler=dict(), model=dict(classifier(), backbone=VGG)),
            'no residual stages found in VGG.* Known families: .*ResNet',
        ),
    ],
)
def test_refused_before_training_starts(tiny_runner, spoil, message):
    """Contract 10; tests/test_options.py has the values of options."""
    with pytest.raises((TypeError, ValueError), match=message):
        runner = tiny_runner(**spoil)
        runner.train_loop.run_iter = None  # no iteration may be run
        runner.train()


def test_no_subnets_need_nothing_special(tiny_runner):
    """Contract 1: the step is the model's own, which has no stages here."""
    runner = tiny_runner(model=dict(type='OwnStep'), sampler=OFF)
    runner.train()
    assert runner.iter == runner.model.steps == 6


def test_nonfinite_loss_names_iteration(tiny_runner):
    runner = tiny_runner(sampler=dict(num_subnets=1))
    runner.model.head.loss_kl.loss_weight = float('nan')
    with pytest.raises(FloatingPointError, match=r'iteration 1: .*subnet 0'):
        runner.train()


@MODELS.register_module()
class OwnStep(BaseModel):
    """A model that trains in a way of its own."""

    steps = 0

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def train_step(self, data, optim_wrapper):
        self.steps += 1
        return {}

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs
