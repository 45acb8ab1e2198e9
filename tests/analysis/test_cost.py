"""Logs of real runs, and what they cost."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mmst.analysis.cost import (
    TrainingCost,
    draw_costs,
    format_cost_table,
    measure_training_cost,
)
from mmst.analysis.training_log import read_training_log
from mmst.subnets import SubnetSampler, measure_cost, predict_iteration_cost
from tests.analysis.evaluation_by_hand import VALIDATION
from tests.conftest import classifier, logged

ITERATIONS = 'mmst.STIterBasedTrainLoop'
SAMPLER = dict(num_subnets=2, min_depth=2)


def scores_of(runner):
    """Top-1 after each validation, in order."""
    return [
        line['accuracy/top1']
        for line in logged(runner.work_dir)
        if 'accuracy/top1' in line
    ]


def plain_flops(runner, batch_size):
    """Of an iteration without subnets: forward, and twice that backward."""
    image = runner.model.data_preprocessor.mean.new_zeros(1, 3, 16, 16)
    return 3 * batch_size * measure_cost(runner.model, image).total


def ratio_of(runner, share=True):
    image = runner.model.data_preprocessor.mean.new_zeros(1, 3, 16, 16)
    sampler = SubnetSampler(**SAMPLER).fit(runner.model)
    return predict_iteration_cost(runner.model, image, sampler, share)


def test_run_with_subnets(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, **VALIDATION)
    runner.train()
    log = read_training_log(runner.work_dir)
    assert (log.num_processes, log.epoch_length, log.iterations) == (1, 3, 6)
    cost = measure_training_cost(log, size=(16, 16))
    assert cost.metric == 'accuracy/top1' and cost.num_subnets == 2
    assert cost.iteration_ratio == pytest.approx(ratio_of(runner))
    assert list(cost.epochs) == [1, 2] and cost.iterations_there == [3, 6]
    assert cost.scores == scores_of(runner)
    iteration = plain_flops(runner, 4) * cost.iteration_ratio
    assert cost.flops_there == pytest.approx([3 * iteration, 6 * iteration])
    assert cost.flops == pytest.approx(6 * iteration)


@pytest.mark.parametrize(
    'options, before',
    [
        (dict(begin=1), 3),
        (dict(begin=4, by_epoch=False), 4),
        (dict(begin=0.3), 2),
        (dict(every=2), 3),
        (dict(begin=1, every=2), 4),
    ],
)
def test_subnets_from_some_point_on(tiny_runner, options, before):
    runner = tiny_runner(sampler=dict(SAMPLER, **options), **VALIDATION)
    runner.train()
    cost = measure_training_cost(
        read_training_log(runner.work_dir), size=(16, 16)
    )
    assert cost.flops == pytest.approx(
        plain_flops(runner, 4) * (before + (6 - before) * ratio_of(runner)),
        rel=0.01,  # other iterations are drawn
    )


@pytest.mark.parametrize(
    'options', [dict(share_prefixes=False), dict(update_running_stats=True)]
)
def test_passes_apart_cost_more(tiny_runner, options):
    train_cfg = dict(type='mmst.STEpochBasedTrainLoop', max_epochs=2)
    runner = tiny_runner(
        sampler=SAMPLER, **VALIDATION, train_cfg=dict(train_cfg, **options)
    )
    runner.train()
    log = read_training_log(runner.work_dir)
    ratio = measure_training_cost(log, size=(16, 16)).iteration_ratio
    assert ratio == pytest.approx(ratio_of(runner, share=False))
    assert ratio > ratio_of(runner) + 0.5


def test_plain_run(tiny_runner):
    runner = tiny_runner(
        model=classifier(st=False),
        max_epochs=3,
        loop='EpochBasedTrainLoop',
        **VALIDATION,
    )
    runner.train()
    cost = measure_training_cost(
        read_training_log(runner.work_dir), size=(16, 16)
    )
    assert cost.num_subnets == 0 and cost.iteration_ratio == 1
    assert cost.flops == pytest.approx(9 * plain_flops(runner, 4))
    assert list(cost.epochs) == [1, 2, 3]


def test_run_that_counts_iterations(tiny_runner):
    hooks = dict(
        logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False)
    )
    runner = tiny_runner(
        sampler=SAMPLER,
        default_hooks=hooks,
        **VALIDATION,
        train_cfg=dict(type=ITERATIONS, max_iters=6, val_interval=2),
    )
    runner.train()
    log = read_training_log(runner.work_dir)
    assert log.epoch_length == 0 and log.iterations == 6
    cost = measure_training_cost(log, size=(16, 16))
    assert cost.epochs is None and cost.iterations_there == [2, 4, 6]
    assert cost.scores == scores_of(runner)


def started_again(runner, name, metrics, resumed_at=None, tail=''):
    """Another start in a run's folder, as MMEngine leaves it on the disk."""
    first = min(Path(runner.work_dir).glob('*/vis_data'))
    later = first.parents[1] / name / 'vis_data'
    later.mkdir(parents=True)
    (later / 'config.py').write_text((first / 'config.py').read_text())
    lines = []
    for epoch, score in metrics.items():
        lines.append(dict(iter=3 * epoch, epoch=epoch, step=3 * epoch))
        lines.append({'accuracy/top1': score, 'time': 1.0, 'step': epoch})
    text = '\n'.join(map(json.dumps, lines))
    (later / 'scalars.json').write_text(f'{text}\n{tail}')
    said = (
        '' if resumed_at is None else f'resumed epoch: 1, iter: {resumed_at}'
    )
    (later.parent / f'{name}.log').write_text(f'{said}\nEpoch(train) [1][3/3]')


def test_resumed_run_replaces_what_it_does_again(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, **VALIDATION)
    runner.train()
    before = scores_of(runner)
    started_again(runner, '99999999_000000', {2: 77.0, 3: 88.0}, resumed_at=3)
    log = read_training_log(runner.work_dir)
    assert log.iterations == 9
    cost = measure_training_cost(log, size=(16, 16))
    assert cost.scores == [before[0], 77.0, 88.0]


def test_what_came_after_the_resumed_checkpoint_does_not_count(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, max_epochs=3, **VALIDATION)
    runner.train()
    before = scores_of(runner)
    assert len(before) == 3
    started_again(runner, '99999999_000000', {2: 77.0}, resumed_at=3)
    log = read_training_log(runner.work_dir)
    assert log.iterations == 6
    cost = measure_training_cost(log, size=(16, 16))
    assert cost.scores == [before[0], 77.0]


def test_the_last_of_several_trainings_counts(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, max_epochs=3, **VALIDATION)
    runner.train()
    started_again(runner, '99999998_000000', {1: 51.0, 2: 52.0})
    started_again(runner, '99999999_000000', {2: 62.0}, resumed_at=3)
    cost = measure_training_cost(
        read_training_log(runner.work_dir), size=(16, 16)
    )
    assert cost.scores == [51.0, 62.0] and cost.iterations == 6


def test_lines_that_are_half_written(tiny_runner):
    """The last one, where a training was killed; others name their file."""
    runner = tiny_runner(sampler=SAMPLER, **VALIDATION)
    runner.train()
    started_again(runner, '99999999_000000', {1: 51.0}, tail='{"loss": 0.')
    assert read_training_log(runner.work_dir).iterations == 3
    (file,) = Path(runner.work_dir).glob('99999999_000000/*/scalars.json')
    whole = file.read_bytes()
    for damage in (b'{"loss": 0.', b'17', b'\0\0', b'\xff\xfe{}'):
        first, rest = whole.split(b'\n', 1)
        file.write_bytes(b'\n'.join([first, damage, rest]))
        with pytest.raises(
            ValueError, match='line 2 of .*scalars.json is not a JSON object'
        ) as caught:
            read_training_log(runner.work_dir)
        assert f'training in {runner.work_dir} is damaged' in str(caught.value)
    file.write_bytes(whole)
    config = file.with_name('config.py')
    config.write_text(config.read_text()[:100])
    with pytest.raises(ValueError, match='config.py, the config of the train'):
        read_training_log(runner.work_dir)


def test_several_processes_share_the_work(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, **VALIDATION)
    runner.train()
    text = next(Path(runner.work_dir).glob('*/*.log'))
    text.write_text(text.read_text().replace('GPU number: 1', 'GPU number: 8'))
    log = read_training_log(runner.work_dir)
    assert log.num_processes == 8
    assert measure_training_cost(log, size=(16, 16)).flops == pytest.approx(
        6 * 8 * plain_flops(runner, 4) * ratio_of(runner)
    )


def test_what_logs_lack(tiny_runner, tmp_path):
    with pytest.raises(ValueError, match='nowhere has no training log'):
        read_training_log(str(tmp_path / 'nowhere'))
    runner = tiny_runner(sampler=SAMPLER)
    runner.train()
    log = read_training_log(runner.work_dir)
    with pytest.raises(ValueError, match='the log has no validation'):
        measure_training_cost(log, size=(16, 16))


@pytest.mark.parametrize('interval', [1, 4])
def test_validation_that_was_logged_with_step_0(tiny_runner, interval):
    """As iteration-based runs log it by default."""
    runner = tiny_runner(
        sampler=SAMPLER,
        default_hooks=dict(logger=dict(type='LoggerHook', interval=interval)),
        **VALIDATION,
        train_cfg=dict(type=ITERATIONS, max_iters=6, val_interval=2),
    )
    runner.train()
    log = read_training_log(runner.work_dir)
    assert list(log.metrics) == [2, 4, 6]


def test_epochs_that_were_logged_by_iterations(tiny_runner):
    hooks = dict(
        logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False)
    )
    runner = tiny_runner(sampler=SAMPLER, default_hooks=hooks, **VALIDATION)
    runner.train()
    assert list(read_training_log(runner.work_dir).metrics) == [3, 6]


def run(factor, epochs=(10, 20)):
    scores = [50.0 + factor, 60.0 + factor]
    return TrainingCost(
        'accuracy/top1',
        factor,
        1.0 + factor,
        40,
        4e12 * factor,
        epochs,
        [2e12 * factor, 4e12 * factor],
        [20, 40],
        scores,
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
def test_picture(tmp_path, epochs, label, steps):
    figure = draw_costs(dict(CT=run(1), ST=run(3, epochs)))
    left, right = figure.axes
    assert left.get_xlabel() == label
    assert left.get_ylabel() == 'accuracy/top1 (%)'
    assert right.get_xlabel() == 'training cost in the backbone (TFLOPs)'
    assert list(left.lines[1].get_xdata()) == steps
    assert list(right.lines[1].get_xdata()) == [6, 12]
    for axes in (left, right):
        assert list(axes.lines[1].get_ydata()) == [53, 63]
    figure.savefig(tmp_path / 'a.png')
    with Image.open(tmp_path / 'a.png') as image:
        assert len(image.getcolors(2**24)) > 10
