"""Logs of real runs, and what they cost."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mmst.analysis.cost import (
    TrainingCost,
    draw_costs,
    format_cost_table,
    measure_training_cost,
)
from mmst.analysis.training_log import read_training_log
from mmst.launch.configured_training import build_backbone
from mmst.subnets import SubnetSampler, measure_cost, predict_iteration_cost
from tests.analysis.evaluation_by_hand import VALIDATION
from tests.conftest import logged

SAMPLER = dict(num_subnets=2, min_depth=1)
SIZE = (32, 32)
IMAGE = torch.zeros(1, 3, *SIZE)


@pytest.fixture(scope='module')
def st_run(train, config, tmp_path_factory) -> Path:
    """Three epochs of two iterations, with subnets; not to be written to."""
    folder = tmp_path_factory.mktemp('st')
    hook = dict(type='mmst.SubnetSamplerHook', **SAMPLER)
    (folder / 'st.py').write_text(f"""
_base_ = {config!r}
custom_imports = dict(imports=['mmst'])
model = dict(head=dict(_delete_=True, type='mmst.STClsHead',
                       subnet_target='label', head=_base_.model.head))
train_cfg = dict(_delete_=True, type='mmst.STEpochBasedTrainLoop',
                 max_epochs=3)
custom_hooks = [{hook}]
""")
    train([folder / 'st.py', '--work-dir', folder / 'run'])
    return folder / 'run'


@pytest.fixture
def work_dir(st_run, tmp_path) -> Path:
    """Its copy."""
    return Path(shutil.copytree(st_run, tmp_path / 'run'))


def read_scores(work_dir):
    """Top-1 after each validation, in order."""
    name = 'accuracy/top1'
    return [line[name] for line in logged(work_dir) if name in line]


def count_plain(log):
    """FLOPs of an iteration without subnets: forward, and twice backward."""
    return 3 * 2 * measure_cost(build_backbone(log.config), IMAGE).total


def predict_ratio(log, share=True):
    backbone = build_backbone(log.config)
    sampler = SubnetSampler(**SAMPLER).fit(backbone)
    return predict_iteration_cost(backbone, IMAGE, sampler, share)


def test_run_with_subnets(st_run):
    log = read_training_log(st_run)
    assert (log.num_processes, log.epoch_length, log.iterations) == (1, 2, 6)
    cost = measure_training_cost(log, size=SIZE)
    assert cost.metric == 'accuracy/top1' and cost.num_subnets == 2
    assert cost.iteration_ratio == pytest.approx(predict_ratio(log))
    assert cost.iteration_ratio > 1.1
    assert list(cost.epochs) == [1, 2, 3]
    assert cost.iterations_there == [2, 4, 6]
    assert cost.scores == read_scores(st_run)
    iteration = count_plain(log) * cost.iteration_ratio
    assert cost.flops_there == pytest.approx(
        [iteration * n for n in (2, 4, 6)]
    )
    assert cost.flops == pytest.approx(6 * iteration)


@pytest.mark.parametrize(
    'options, before',
    [
        (dict(begin=1), 2),
        (dict(begin=4, by_epoch=False), 4),
        (dict(begin=0.3), 2),
        (dict(every=2), 3),
        (dict(begin=1, every=2), 4),
        (dict(num_subnets=0), 6),
    ],
)
def test_iterations_without_subnets(st_run, options, before):
    log = read_training_log(st_run)
    log.config.custom_hooks[0].update(options)
    cost = measure_training_cost(log, size=SIZE)
    assert cost.num_subnets == options.get('num_subnets', 2)
    iterations = before + (6 - before) * predict_ratio(log)
    # Other iterations are drawn.
    assert cost.flops == pytest.approx(count_plain(log) * iterations, rel=0.01)


@pytest.mark.parametrize(
    'options', [dict(share_prefixes=False), dict(update_running_stats=True)]
)
def test_passes_apart_cost_more(st_run, options):
    log = read_training_log(st_run)
    log.config.train_cfg.update(options)
    ratio = measure_training_cost(log, size=SIZE).iteration_ratio
    assert ratio == pytest.approx(predict_ratio(log, share=False))
    assert ratio > predict_ratio(log) + 0.5


def test_plain_run(trained):
    log = read_training_log(trained)
    cost = measure_training_cost(log, size=SIZE)
    assert cost.num_subnets == 0 and cost.iteration_ratio == 1
    assert cost.flops == pytest.approx(2 * count_plain(log))
    assert list(cost.epochs) == [1]


def test_several_processes_share_the_work(work_dir):
    one = read_training_log(work_dir)
    text = next(work_dir.glob('*/*.log'))
    text.write_text(text.read_text().replace('GPU number: 1', 'GPU number: 8'))
    eight = read_training_log(work_dir)
    assert (one.num_processes, eight.num_processes) == (1, 8)
    cost, shared = (measure_training_cost(x, size=SIZE) for x in (one, eight))
    assert shared.flops == pytest.approx(8 * cost.flops)


@pytest.mark.parametrize(
    'by_epoch, logger',
    [
        pytest.param(
            *(True, dict(log_metric_by_epoch=False)), marks=pytest.mark.slow
        ),
        (False, dict(log_metric_by_epoch=False)),
        (False, dict(interval=4)),
    ],
)
def test_validations_are_found(tiny_runner, by_epoch, logger):
    """Iteration-based runs log them with step 0 by default."""
    iterations = dict(type='mmst.STIterBasedTrainLoop', val_interval=2)
    logger = {'type': 'LoggerHook', 'interval': 1, **logger}
    options = dict(VALIDATION, default_hooks=dict(logger=logger))
    if not by_epoch:
        options['train_cfg'] = dict(iterations, max_iters=6)
    runner = tiny_runner(sampler=dict(num_subnets=1), **options)
    runner.train()
    log = read_training_log(runner.work_dir)
    assert (log.epoch_length, log.iterations) == (3 * by_epoch, 6)
    assert list(log.metrics) == ([3, 6] if by_epoch else [2, 4, 6])
    cost = measure_training_cost(log, size=SIZE)
    assert cost.epochs == ([1, 2] if by_epoch else None)
    assert cost.scores == read_scores(runner.work_dir)


def start_again(work_dir, name, metrics, resumed_at=None, tail=''):
    """Add another start to a run's folder, as MMEngine leaves it."""
    first = min(work_dir.glob('*/vis_data'))
    later = work_dir / name / 'vis_data'
    later.mkdir(parents=True)
    shutil.copy(first / 'config.py', later)
    lines = []
    for epoch, score in metrics.items():
        lines.append(dict(iter=2 * epoch, epoch=epoch, step=2 * epoch))
        lines.append({'accuracy/top1': score, 'time': 1.0, 'step': epoch})
    text = '\n'.join(map(json.dumps, lines))
    (later / 'scalars.json').write_text(f'{text}\n{tail}')
    said = f'resumed epoch: 1, iter: {resumed_at}' if resumed_at else ''
    (work_dir / name / 'a.log').write_text(f'{said}\nEpoch(train) [1][2/2]')


@pytest.mark.parametrize(
    'starts, kept, scores, iterations',
    [
        # What it does again is replaced, and what came after is forgotten.
        ([({3: 77.0, 4: 88.0}, 4)], 2, [77.0, 88.0], 8),
        ([({2: 77.0}, 2)], 1, [77.0], 4),
        # Of several trainings the last one counts.
        ([({1: 51.0, 2: 52.0}, None), ({2: 62.0}, 2)], 0, [51.0, 62.0], 4),
    ],
)
def test_starts_of_a_run(work_dir, starts, kept, scores, iterations):
    before = read_scores(work_dir)
    for k, (metrics, resumed_at) in enumerate(starts):
        start_again(work_dir, f'9999999{k}_000000', metrics, resumed_at)
    cost = measure_training_cost(read_training_log(work_dir), size=SIZE)
    assert cost.scores == before[:kept] + scores
    assert cost.iterations == iterations


def test_lines_that_are_half_written(work_dir):
    """The last one, where a training was killed; others name their file."""
    start_again(work_dir, '99999999_000000', {1: 51.0}, tail='{"loss": 0.')
    assert read_training_log(work_dir).iterations == 2
    (file,) = work_dir.glob('99999999_000000/*/scalars.json')
    whole = file.read_bytes()
    for damage in (b'{"loss": 0.', b'17', b'\0\0', b'\xff\xfe{}'):
        first, rest = whole.split(b'\n', 1)
        file.write_bytes(b'\n'.join([first, damage, rest]))
        with pytest.raises(
            ValueError, match='line 2 of .*scalars.json is not a JSON object'
        ) as caught:
            read_training_log(work_dir)
        assert f'training in {work_dir} is damaged' in str(caught.value)
    file.write_bytes(whole)
    config = file.with_name('config.py')
    config.write_text(config.read_text()[:100])
    with pytest.raises(ValueError, match='config.py, the config of the train'):
        read_training_log(work_dir)
    config.unlink()
    with pytest.raises(ValueError, match='config.py, the config of the train'):
        read_training_log(work_dir)


def test_what_logs_lack(st_run, work_dir, tmp_path):
    with pytest.raises(ValueError, match='nowhere has no training log'):
        read_training_log(str(tmp_path / 'nowhere'))
    log = read_training_log(st_run)._replace(metrics={})
    with pytest.raises(ValueError, match='the log has no validation'):
        measure_training_cost(log, size=SIZE)
    next(work_dir.glob('*/*.log')).write_text('')
    with pytest.raises(ValueError, match=r'no \*.log with a training line'):
        read_training_log(work_dir)


def run(factor, epochs=(10, 20)):
    return TrainingCost(
        metric='accuracy/top1',
        num_subnets=factor,
        iteration_ratio=1.0 + factor,
        iterations=40,
        flops=4e12 * factor,
        epochs=epochs,
        flops_there=[2e12 * factor, 4e12 * factor],
        iterations_there=[20, 40],
        scores=[50.0 + factor, 60.0 + factor],
    )


def test_table():
    head, *rows = format_cost_table(dict(CT=run(1), ST=run(3))).splitlines()
    assert [row.split() for row in rows] == [
        ['CT', '20', '40', '1', '2.00', '4e+12', '1.00', '61.00', '61.00'],
        ['ST', '20', '40', '3', '4.00', '1.2e+13', '3.00', '63.00', '63.00'],
    ]
    errors = run(1)._replace(metric='NME', rule='less')
    head_of_errors, row = format_cost_table(dict(CT=errors)).splitlines()
    assert row.split()[-2:] == ['61.00', '51.00']
    assert 'last NME (less is better)' in head_of_errors
    assert 'of CT' in head and 'last accuracy/top1 (%)' in head


@pytest.mark.parametrize(
    'epochs, label, steps',
    [((10, 20), 'epochs', [10, 20]), (None, 'iterations', [20, 40])],
)
def test_picture(epochs, label, steps):
    figure = draw_costs(dict(CT=run(1), ST=run(3, epochs)))
    left, right = figure.axes
    assert left.get_xlabel() == label
    assert left.get_ylabel() == 'accuracy/top1 (%)'
    assert right.get_xlabel() == 'training cost in the backbone (FLOPs)'
    figure.draw_without_rendering()
    assert '10 T' in [text.get_text() for text in right.get_xticklabels()]
    assert list(left.lines[1].get_xdata()) == steps
    assert list(right.lines[1].get_xdata()) == [6e12, 12e12]
    for axes in (left, right):
        assert list(axes.lines[1].get_ydata()) == [53, 63]
