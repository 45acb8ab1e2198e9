"""Whole runs: plain training, resuming, checkpoints, and what is refused."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS

from mmst.checkpoints.safe_load import safe_load
from tests.conftest import classifier, logged

SAMPLER = dict(num_subnets=2, min_depth=1, size_range=(0.5, 1.0))
LOOPS = ['mmst.STEpochBasedTrainLoop', 'mmst.STIterBasedTrainLoop']


def weights(runner):
    return runner.model.state_dict()


def assert_equal(a, b):
    assert list(a) == list(b)
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize('loop', LOOPS)
def test_no_subnets_is_plain_training(tiny_runner, loop):
    """Contract 1: K = 0 is MMEngine's own run, bit for bit."""
    plain = tiny_runner(
        'plain',
        classifier(st=False, dropout=0.2),
        loop=loop.replace('mmst.ST', ''),
    )
    plain.train()
    st = tiny_runner(
        'st', classifier(dropout=0.2), dict(num_subnets=0), loop=loop
    )
    st.train()
    assert_equal(weights(plain), weights(st))
    for a, b in zip(
        plain.optim_wrapper.state_dict()['state'].values(),
        st.optim_wrapper.state_dict()['state'].values(),
    ):
        assert torch.equal(a['momentum_buffer'], b['momentum_buffer'])


@HOOKS.register_module()
class Watch(Hook):
    """Keeps what a loop tells its hooks."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.iter, batch_idx, len(data_batch['inputs'])))

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.seen.append(
            (
                runner.iter,
                batch_idx,
                len(data_batch['inputs']),
                'loss' in outputs,
            )
        )


@pytest.mark.parametrize('loop', LOOPS)
def test_hooks_are_told_what_plain_loops_tell(tiny_runner, loop):
    told = []
    for name, kind, st in (
        ('a', loop.replace('mmst.ST', ''), False),
        ('b', loop, True),
    ):
        runner = tiny_runner(
            name,
            classifier(st=st),
            SAMPLER if st else None,
            loop=kind,
            hooks=[dict(type='Watch')],
        )
        runner.train()
        told.append(next(h for h in runner.hooks if isinstance(h, Watch)).seen)
    assert told[0] == told[1] and len(told[0]) == 12


@pytest.mark.parametrize('update', [False, True])
def test_loop_hands_on_update_running_stats(tiny_runner, update):
    runner = tiny_runner(
        sampler=SAMPLER,
        train_cfg=dict(
            type=LOOPS[0], max_epochs=1, update_running_stats=update
        ),
    )
    runner.train()
    # 3 iterations of a main pass and 2 subnets.
    counted = runner.model.backbone.norm1.num_batches_tracked
    assert counted == (9 if update else 3)


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('num_workers', [0, 2])
def test_resumed_run_equals_the_uninterrupted(
    tiny_runner, tmp_path, loop, num_workers
):
    """Contract 7, with dropout and random augmentation."""
    if num_workers == 0 and 'Iter' in loop:
        pytest.skip('skipping over seen batches draws in the main process')
    # ReseedHook is needed: without it the two runs differ.
    options = dict(
        model=classifier(dropout=0.2),
        sampler=SAMPLER,
        loop=loop,
        hooks=[dict(type='mmst.ReseedHook')],
        num_workers=num_workers,
    )
    whole = tiny_runner('whole', max_epochs=4, **options)
    whole.train()

    class Stop(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stop

    stopped = tiny_runner('stopped', max_epochs=4, **options)
    hook = stopped.hooks[0]
    after = stopped.hooks[0].after_train_iter
    hook.after_train_iter = lambda runner, *a, **k: (
        stop() if runner.iter == 7 else after(runner, *a, **k)
    )
    with pytest.raises(Stop):
        stopped.train()
    resumed = tiny_runner('stopped', max_epochs=4, resume=True, **options)
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
    assert 'subnet0_loss' in last and 'subnet1_loss' not in last


def test_late_begin_starts_like_plain_training(tiny_runner):
    plain = tiny_runner(
        'plain', classifier(), dict(num_subnets=0), max_epochs=1
    )
    plain.train()
    late = tiny_runner(
        'late', classifier(), dict(num_subnets=1, begin=1), max_epochs=2
    )
    seen = []
    model_step = late.train_loop._run_st_iter

    def watch(*args):
        seen.append(len(late.train_loop.subnets))
        if late.iter == 3:
            assert_equal(weights(plain), weights(late))
        model_step(*args)
        seen[-1] = len(late.train_loop.subnets)

    late.train_loop._run_st_iter = watch
    late.train()
    assert seen == [0, 0, 0, 1, 1, 1]


def test_log_names_losses_depths_and_sizes(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER)
    runner.train()
    lines = logged(runner.work_dir)
    losses = lines[0]
    assert {'main_loss', 'subnet0_loss', 'subnet1_loss'} <= set(losses)
    total = (
        losses['main_loss'] + losses['subnet0_loss'] + losses['subnet1_loss']
    )
    assert losses['loss'] == pytest.approx(total, rel=1e-5)
    # Apart: the toolboxes' readers take each line of the one file for one of
    # training or validation.
    assert all('loss' in line for line in lines)
    drawn = logged(runner.work_dir, 'subnets.json')[0]
    sampler = next(h.sampler for h in runner.hooks if hasattr(h, 'sampler'))
    for k, subnet in enumerate(sampler.draw(drawn['step'] - 1)):
        assert drawn[f'subnet{k}_size'] == subnet.size
        assert (
            tuple(drawn[f'subnet{k}_depth_layer{i}'] for i in (1, 2, 3))
            == subnet.depths
        )
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert 'predicted cost of an iteration:' in text


@pytest.mark.parametrize(
    'spoil, error, message',
    [
        (
            dict(sampler=dict(min_depth=[1, 2])),
            ValueError,
            r'min_depth \[1, 2\] has 2 entries, but the network has 3 stages',
        ),
        (
            dict(sampler=dict(space=[1, 2])),
            ValueError,
            r'space \[1, 2\] has 2 entries, but the network has 3 stages',
        ),
        (dict(sampler=dict(space=[1, 2, 1, 1])), ValueError, 'has 4 entries'),
        (
            dict(sampler=dict(space=[0, 1, 1])),
            ValueError,
            r'space \[0, 1, 1\]: 0 is not a whole number',
        ),
        (
            dict(sampler=dict(space=[1, 1, 4])),
            ValueError,
            'stage 3, 4, is not',
        ),
        (
            dict(sampler=dict(num_subnets=-1)),
            ValueError,
            'num_subnets -1 is not a whole number of at least 0',
        ),
        (
            dict(sampler=dict(size_range=(0.5, 1.5))),
            ValueError,
            r'size_range \(0.5, 1.5\): sizes must be .*in \(0, 1\]',
        ),
        (
            dict(sampler=dict(size_range=(1.0, 0.5))),
            ValueError,
            'L_min > L_max',
        ),
        (
            dict(sampler=dict(size_range=(0.0, 0.5))),
            ValueError,
            r'in \(0, 1\]',
        ),
        (
            dict(
                sampler=dict(begin=1, by_epoch=True),
                loop='mmst.STIterBasedTrainLoop',
            ),
            ValueError,
            'by_epoch=False',
        ),
        (
            dict(sampler=dict(), loop='EpochBasedTrainLoop'),
            ValueError,
            "sets EpochBasedTrainLoop: set .*STEpochBasedTrainLoop'",
        ),
        (dict(), ValueError, 'add .*mmst.SubnetSamplerHook'),
        (
            dict(sampler=dict(), model=classifier(st=False)),
            ValueError,
            r'model.head is LinearClsHead: .*mmst.STClsHead',
        ),
        (
            dict(
                sampler=dict(),
                model=dict(
                    classifier(),
                    backbone=dict(type='VGG', depth=11, num_classes=-1),
                ),
            ),
            TypeError,
            'no residual stages found in VGG.* Known families: .*ResNet',
        ),
    ],
)
def test_refused_before_training_starts(tiny_runner, spoil, error, message):
    """Contract 10."""
    with pytest.raises(error, match=message):
        runner = tiny_runner(**spoil)
        runner.train_loop.run_iter = None  # no iteration may be run
        runner.train()


def test_too_small_an_input_is_refused_before_the_first_step(tiny_runner):
    """Contract 10, where the network needs padding to see anything."""
    model = classifier()
    model['backbone'] = dict(type='NoPadding')
    runner = tiny_runner(model=model, sampler=dict(size_range=(3, 16)))
    before = {k: v.clone() for k, v in weights(runner).items()}
    runner.model.init_weights = lambda: None
    with pytest.raises(
        ValueError,
        match=r'subnets of 3 px are too small: subnet 1-1-1 at 3 px: .*'
        r'[Kk]ernel size can.*now 3 to 16 px',
    ):
        runner.train()
    assert_equal(before, weights(runner))


@pytest.mark.parametrize('model', [dict(type='OwnStep'), classifier(st=False)])
def test_no_subnets_need_nothing_special(tiny_runner, model):
    """Contract 1: the step is the model's own, whatever its head."""
    runner = tiny_runner(model=model, sampler=dict(num_subnets=0))
    runner.train()
    assert runner.iter == 6 and getattr(runner.model, 'steps', 6) == 6


def test_nonfinite_loss_names_iteration(tiny_runner):
    runner = tiny_runner(sampler=dict(num_subnets=1))
    runner.train_loop._iter = 0
    loss_kl = runner.model.head.loss_kl
    loss_kl.loss_weight = float('nan')
    with pytest.raises(FloatingPointError, match=r'iteration 1: .*subnet 0'):
        runner.train()


@MODELS.register_module()
class OwnStep(BaseModel):
    """A residual model that trains in a way of its own."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(classifier()['backbone'])
        self.steps = 0

    def train_step(self, data, optim_wrapper):
        self.steps += 1
        return {}

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


@MODELS.register_module()
class NoPadding(torch.nn.Module):
    """A ResNet layout whose stem needs 4 pixels."""

    def __init__(self):
        super().__init__()
        net = MODELS.build(classifier()['backbone'])
        self.stem = torch.nn.Conv2d(3, 4, 4, 4)
        self.layer1, self.layer2, self.layer3 = (
            net.layer1,
            net.layer2,
            net.layer3,
        )

    def forward(self, x):
        return (self.layer3(self.layer2(self.layer1(self.stem(x)))),)
