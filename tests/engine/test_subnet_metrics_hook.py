"""Subnets are reported, and the training does not notice."""

import os
import random
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import BaseVisBackend
from torch import distributed as torch_dist
from torch import multiprocessing

from mmst.engine.hooks import SubnetMetricsHook
from mmst.evaluation import reestimate_statistics
from mmst.subnets import activate
from tests.analysis.evaluation_by_hand import NUM_TRAIN, by_hand, loader
from tests.conftest import (
    TinyImages,
    batch,
    build_classifier,
    classifier,
    load_run,
    logged,
)

HOOK = dict(type='mmst.SubnetMetricsHook')
VALIDATION = dict(
    val_dataloader=loader(16, 40),
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


@pytest.mark.parametrize(
    'loop, hook, options',
    [
        (EPOCHS, dict(), dict(hooks=[dict(type='EMAHook', momentum=0.3)])),
        (EPOCHS, dict(), dict(num_workers=1)),
        (ITERATIONS, dict(by_epoch=False, interval=2), dict()),
    ],
)
def test_training_is_the_one_without_it(tiny_runner, loop, hook, options):
    """Weights, checkpoint, logs and the random numbers drawn afterwards."""
    ends = []
    for name, hooks in (('without', []), ('with', [dict(HOOK, **hook)])):
        extra = dict(options, hooks=[*options.get('hooks', ()), *hooks])
        runner = tiny_runner(
            name, sampler=dict(num_subnets=1), loop=loop, **VALIDATION, **extra
        )
        if 'num_workers' in options:
            runner.cfg.train_dataloader.persistent_workers = True
            runner._train_dataloader['persistent_workers'] = True
        runner.train()
        drawn = torch.rand(3).tolist(), np.random.rand(), random.random()
        file = next(
            Path(runner.work_dir).glob(
                'epoch_2.pth' if loop == EPOCHS else 'iter_6.pth'
            )
        )
        scalars = scalars_of(runner)
        assert any(map(is_report, scalars)) is bool(hooks)
        ends.append(
            (
                drawn,
                plain(load_run(file)),
                [line for line in scalars if not is_report(line)],
                {n: m.training for n, m in runner.model.named_modules()},
            )
        )
    assert ends[0] == ends[1]


@pytest.mark.parametrize('averaged', [False, True])
def test_numbers_are_those_of_an_evaluation_by_hand(tiny_runner, averaged):
    """One training batch of all images gives the BatchNorm statistics."""
    hooks = [dict(HOOK, interval=2, depths=[[1, 2, 1], [3, 3, 3]])]
    if averaged:
        hooks.append(dict(type='EMAHook', momentum=0.3))
    runner = tiny_runner(
        sampler=dict(num_subnets=1),
        hooks=hooks,
        max_epochs=3,
        train_dataloader=loader(NUM_TRAIN, NUM_TRAIN),
        **VALIDATION,
    )
    runner.train()
    lines = [line for line in scalars_of(runner) if is_report(line)]
    assert [line['step'] for line in lines] == [2]
    # The averaged weights, where there are any.
    checkpoint = load_run(Path(runner.work_dir, 'epoch_2.pth'))
    runner.model.load_state_dict(checkpoint['state_dict'])
    for depths in ((1, 2, 1), (3, 3, 3)):
        name = 'subnet_' + '-'.join(map(str, depths))
        top1, mean = by_hand(runner.model, depths, NUM_TRAIN)
        assert lines[0][f'{name}/accuracy/top1'] == pytest.approx(top1)
        assert lines[0][f'{name}/mean_score'] == pytest.approx(mean, rel=1e-4)
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert re.search(
        r'Subnet\(val\) \[epoch 2\]  1-2-1  accuracy/top1: '
        r'[\d.]+  mean_score: [\d.]+\n',
        text,
    )


def test_reports_at_iterations(tiny_runner):
    runner = tiny_runner(
        sampler=dict(num_subnets=1),
        loop=ITERATIONS,
        hooks=[dict(HOOK, interval=4, by_epoch=False)],
        **VALIDATION,
    )
    runner.train()
    (line,) = filter(is_report, scalars_of(runner))
    assert line['step'] == 4
    assert {key.split('/')[0] for key in line} == {
        'subnet_1-1-1',
        'subnet_2-2-2',
        'subnet_3-3-3',
        'iter',
        'step',
    }


def test_images_are_read_apart_from_the_run(tiny_runner):
    runner = tiny_runner(
        hooks=[dict(HOOK, num_samples=5, depths=[[1, 1, 1]])],
        loop='EpochBasedTrainLoop',
        max_epochs=1,
        model=classifier(st=False),
        **VALIDATION,
    )
    hook = next(h for h in runner.hooks if isinstance(h, SubnetMetricsHook))
    runner.train()
    assert isinstance(hook._dataset, TinyImages)
    assert hook._dataset is not runner.train_dataloader.dataset


@HOOKS.register_module()
class Witness(Hook):
    """Sees the model in the iteration in which subnets were reported."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, *args, **kwargs):
        self.modes = {module.training for module in runner.model.modules()}


def test_later_hooks_see_a_model_in_training(tiny_runner):
    runner = tiny_runner(
        sampler=dict(num_subnets=1),
        loop=ITERATIONS,
        hooks=[dict(HOOK, interval=6, by_epoch=False), dict(type='Witness')],
        **VALIDATION,
    )
    runner.train()
    witness = next(h for h in runner.hooks if isinstance(h, Witness))
    assert witness.modes == {True}


@pytest.mark.parametrize(
    'hook, options, message',
    [
        (
            dict(depths=[[1, 4, 1]]),
            VALIDATION,
            r'SubnetMetricsHook .* depth 4 of stage 2',
        ),
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


@pytest.mark.parametrize(
    'options', [dict(interval=0), dict(interval=1.5), dict(num_samples=0)]
)
def test_wrong_numbers(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f'{name} {value} is not a whole'):
        SubnetMetricsHook(**options)


def train_in_two(rank, folder):
    """Two epochs with and without the hook, on a half of the data each."""
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    torch_dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    ends = {}
    for name, hooks in (('without', []), ('with', [dict(HOOK)])):
        settings = dict(
            model=classifier(),
            work_dir=f'{folder}/{name}',
            train_dataloader=loader(NUM_TRAIN // 2, NUM_TRAIN),
            train_cfg=dict(type=EPOCHS, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
            custom_hooks=[
                *hooks,
                dict(type='mmst.SubnetSamplerHook', num_subnets=1),
            ],
            visualizer=dict(
                type='UniversalVisualizer',
                vis_backends=[dict(type='LocalVisBackend')],
            ),
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', device_ids=None
            ),
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            launcher='pytorch',
            experiment_name=name,
            **VALIDATION,
        )
        runner = Runner.from_cfg(Config(settings))
        runner.train()
        ends[name] = plain(runner.model.module.state_dict())
        if rank == 0 and hooks:
            ends['scalars'] = scalars_of(runner)
    # One rank has no image, the other has all.
    torch.manual_seed(0)
    model = build_classifier()
    data = [batch(6)] if rank == 1 else []
    with reestimate_statistics(model, data):
        ends['mean'] = model.backbone.norm1.running_mean.clone()
    torch.save(ends, f'{folder}/{get_rank()}.pth')
    torch_dist.barrier()


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(train_in_two, (str(folder),), nprocs=2)
    return [load_run(folder / f'{rank}.pth') for rank in range(2)]


def test_distributed(two_ranks):
    """Ranks train as without it, and report the subnet of joined data."""
    for rank in two_ranks:
        assert rank['with'] == rank['without']
    line = [line for line in two_ranks[0]['scalars'] if is_report(line)][-1]
    assert line['step'] == 2
    model = build_classifier(double=False)
    model.load_state_dict(
        {
            key: torch.tensor(value)
            for key, value in two_ranks[0]['with'].items()
        }
    )
    data = TinyImages(NUM_TRAIN, flip=False)
    halves = [
        dict(inputs=list(data.images[rank::2]), data_samples=None)
        for rank in range(2)
    ]
    validation = TinyImages(40, flip=False)
    images = (validation.images.float() - 127.5) / 64
    for depths in ((1, 1, 1), (2, 2, 2)):
        with activate(
            model, depths, update_running_stats=True
        ), reestimate_statistics(model, halves), torch.no_grad():
            model.eval()
            p = model(images).softmax(1)[range(40), validation.labels]
        name = 'subnet_' + '-'.join(map(str, depths))
        assert line[f'{name}/mean_score'] == pytest.approx(
            100 * p.mean().item(), rel=1e-5
        )


def test_statistics_where_one_rank_has_no_image(two_ranks):
    torch.manual_seed(0)
    model = build_classifier()
    x = model.backbone.conv1((batch(6)['inputs'] - 127.5) / 64)
    for rank in two_ranks:
        torch.testing.assert_close(rank['mean'], x.mean((0, 2, 3)))


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


def test_every_backend_gets_the_figures(tiny_runner):
    runner = tiny_runner(
        sampler=dict(num_subnets=1),
        hooks=[dict(HOOK, depths=[[1, 2, 1]])],
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[
                dict(type='LocalVisBackend'),
                dict(type='Dashboard'),
            ],
        ),
        **VALIDATION,
    )
    runner.train()
    lines = logged(runner.work_dir, 'subnets.json')
    assert lines and not any(map(is_report, logged(runner.work_dir)))
    for line in lines:
        figures = {key: line[key] for key in line if key != 'step'}
        assert (line['step'], figures) in Dashboard.scalars
