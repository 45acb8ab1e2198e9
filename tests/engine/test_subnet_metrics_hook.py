"""Subnets are reported, and the training does not notice."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.visualization import BaseVisBackend

from mmst.engine.hooks import SubnetMetricsHook
from tests.analysis.evaluation_by_hand import (
    NUM_TRAIN,
    NUM_VAL,
    by_hand,
    loader,
)
from tests.conftest import TinyImages, classifier, load_run, logged, read_log

HOOK = dict(type='mmst.SubnetMetricsHook')
VALIDATION = dict(
    val_dataloader=loader(16, NUM_VAL),
    val_evaluator=[dict(type='Accuracy', topk=(1,)), dict(type='MeanScore')],
    val_cfg=dict(),
)
EPOCHS = 'mmst.STEpochBasedTrainLoop'
ITERATIONS = 'mmst.STIterBasedTrainLoop'


def scalars_of(runner):
    """All that was logged, of subnets too, but for times."""
    files = ('scalars.json', 'subnets.json')
    return [
        {key: value for key, value in line.items() if 'time' not in key}
        for name in files
        for line in logged(runner.work_dir, name)
    ]


def is_report(line):
    return any(key.startswith('subnet_') for key in line)


def plain(value):
    """What a checkpoint holds, comparable."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, HistoryBuffer):
        return [column.tolist() for column in value.data]
    if isinstance(value, dict):
        return {
            key: plain(item)
            for key, item in value.items()
            if 'time' not in str(key) and key not in ('meta', 'runtime_info')
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@HOOKS.register_module()
class Witness(Hook):
    """Sees the model after subnets were reported in an iteration."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, *args, **kwargs):
        assert all(module.training for module in runner.model.modules())


@pytest.mark.parametrize(
    'loop, hook, options',
    [
        (EPOCHS, dict(), dict(hooks=[dict(type='EMAHook', momentum=0.3)])),
        (EPOCHS, dict(), dict(num_workers=1)),
        (
            ITERATIONS,
            dict(by_epoch=False, interval=4),
            dict(hooks=[dict(type='Witness')]),
        ),
    ],
)
def test_training_is_the_one_without_it(tiny_runner, loop, hook, options):
    """Weights, checkpoint, logs and the random numbers drawn afterwards."""
    ends = []
    for name in ('without', 'with'):
        hooks = [*options.get('hooks', ())]
        if name == 'with':
            hooks.append(dict(HOOK, num_samples=NUM_TRAIN, **hook))
        runner = tiny_runner(
            name,
            sampler=dict(num_subnets=1),
            loop=loop,
            **VALIDATION,
            **dict(options, hooks=hooks),
        )
        if 'num_workers' in options:
            runner.cfg.train_dataloader.persistent_workers = True
            runner._train_dataloader['persistent_workers'] = True
        runner.train()
        # Left to the garbage collector, the worker would take 5 seconds.
        runner.train_loop.dataloader._iterator = None
        drawn = torch.rand(3).tolist(), np.random.rand(), random.random()
        file = 'epoch_2.pth' if loop == EPOCHS else 'iter_6.pth'
        scalars = scalars_of(runner)
        ends.append(
            (
                drawn,
                plain(load_run(Path(runner.work_dir, file))),
                [line for line in scalars if not is_report(line)],
                {n: m.training for n, m in runner.model.named_modules()},
            )
        )
    assert ends[0] == ends[1]
    reports = [line for line in scalars if is_report(line)]
    assert len(reports) < len(scalars)
    steps = [1, 2] if loop == EPOCHS else [4]
    assert [line['step'] for line in reports] == steps
    names = {'subnet_1-1-1', 'subnet_2-2-2', 'subnet_3-3-3', 'iter', 'step'}
    assert {key.split('/')[0] for key in reports[0]} == names


@VISBACKENDS.register_module()
class Dashboard(BaseVisBackend):
    """Keeps the scalars that it is given, as TensorBoard does."""

    scalars = []

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        self.scalars.append((step, scalar_dict))


@pytest.mark.parametrize('averaged', [False, True])
def test_numbers_are_those_of_an_evaluation_by_hand(tiny_runner, averaged):
    """One training batch of all images gives the BatchNorm statistics.

    Each backend gets the numbers, in a plain training, too.
    """
    hooks = [dict(HOOK, interval=2, depths=[[1, 2, 1], [3, 3, 3]])]
    if averaged:
        hooks.append(dict(type='EMAHook', momentum=0.3))
    backends = [dict(type='LocalVisBackend'), dict(type='Dashboard')]
    runner = tiny_runner(
        model=classifier(st=averaged),
        loop=EPOCHS if averaged else 'EpochBasedTrainLoop',
        sampler=dict(num_subnets=1) if averaged else None,
        hooks=hooks,
        max_epochs=3,
        train_dataloader=loader(NUM_TRAIN, NUM_TRAIN),
        visualizer=dict(type='UniversalVisualizer', vis_backends=backends),
        **VALIDATION,
    )
    runner.train()
    lines = logged(runner.work_dir, 'subnets.json')
    (line,) = filter(is_report, lines)
    assert line.pop('step') == 2 and (2, line) in Dashboard.scalars
    assert not any(map(is_report, logged(runner.work_dir)))
    # The averaged weights, where there are any.
    checkpoint = load_run(Path(runner.work_dir, 'epoch_2.pth'))
    runner.model.load_state_dict(checkpoint['state_dict'])
    for depths in ((1, 2, 1), (3, 3, 3)):
        name = 'subnet_' + '-'.join(map(str, depths))
        top1, mean = by_hand(runner.model, depths, NUM_TRAIN)
        assert line[f'{name}/accuracy/top1'] == pytest.approx(top1)
        assert line[f'{name}/mean_score'] == pytest.approx(mean, rel=1e-4)
    text = read_log(runner)
    assert re.search(
        r'Subnet\(val\) \[epoch 2\]  1-2-1  accuracy/top1: '
        r'[\d.]+  mean_score: [\d.]+\n',
        text,
    )
    # Images are read apart from the run's.
    hook = next(h for h in runner.hooks if isinstance(h, SubnetMetricsHook))
    assert isinstance(hook._dataset, TinyImages)
    assert hook._dataset is not runner.train_dataloader.dataset


@pytest.mark.parametrize(
    'hook, options, message',
    [
        (dict(depths=[[1, 4, 1]]), VALIDATION, 'Hook .* depth 4 of stage 2'),
        (dict(), dict(), 'no validation: set val_dataloader'),
        (dict(), dict(VALIDATION, loop=ITERATIONS), 'set by_epoch=False'),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(
    tiny_runner, hook, options, message
):
    runner = tiny_runner(
        sampler=dict(num_subnets=1), hooks=[dict(HOOK, **hook)], **options
    )
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0
