"""Scores of subnets against an evaluation written out in plain PyTorch."""

import math
import re
from copy import deepcopy

import pytest
import torch

from mmst.analysis.loafing import (
    draw_loafing,
    format_loafing_table,
    measure_loafing,
)
from mmst.analysis.scores import compute_mean_and_interval, list_networks
from mmst.evaluation import evaluate_subnet
from tests.analysis.evaluation_by_hand import by_hand
from tests.analysis.pictures import read_legend, read_names

NETWORKS = {'main': None, '1-1-1-1': (1, 1, 1, 1), '2-2-2-2': (2, 2, 2, 2)}


@pytest.mark.parametrize('batch_size, num_samples', [(4, 2000), (3, 2)])
def test_scores_are_those_of_an_evaluation_by_hand(
    load, batch_size, num_samples
):
    """Statistics from one batch: of all training images, or of the first."""
    runner = load(train_dataloader__batch_size=batch_size)
    before = deepcopy(runner.model.state_dict())
    # A runner that has not evaluated anything yet is in training mode.
    alone = evaluate_subnet(runner, (1, 1, 1, 1), num_samples)
    _, top1 = measure_loafing(runner, 'accuracy/top1', num_samples)
    _, mean = measure_loafing(runner, 'mean_score', num_samples)
    assert list(top1) == list(mean) == list(NETWORKS)
    for name, depths in NETWORKS.items():
        expected = by_hand(
            runner.model,
            depths,
            batch_size,
            runner.train_dataloader.dataset,
            runner.val_dataloader.dataset,
        )
        assert (top1[name], mean[name]) == pytest.approx(expected, rel=1e-4)
    # The scores tell the networks apart, so that a mix-up would show.
    assert len({round(score, 3) for score in mean.values()}) == len(NETWORKS)
    assert alone['accuracy/top1'] == top1['1-1-1-1']
    assert alone['mean_score'] == pytest.approx(mean['1-1-1-1'])
    torch.testing.assert_close(
        runner.model.state_dict(), before, rtol=0, atol=0
    )


def test_training_data_without_an_end(load):
    """Each subnet gets images from an infinite sampler, the same each time."""
    runner = load(train_dataloader__sampler__type='InfiniteSampler')
    first, again = (
        measure_loafing(runner, 'mean_score', 3, [(1, 1, 1, 1)])
        for _ in range(2)
    )
    assert first == again


def test_usual_metric_is_chosen_and_others_are_named(load):
    runner = load()
    metric, scores = measure_loafing(runner, subnets=[(1, 2, 1, 1)])
    assert metric == 'accuracy/top1' and list(scores) == ['main', '1-2-1-1']
    twice = list_networks(runner, [(1, 2, 1, 1), [1, 2, 1, 1]])
    assert twice == [None, (1, 2, 1, 1)]  # measured once
    with pytest.raises(ValueError, match=r"metric 'top1' is not .*'mean_scor"):
        measure_loafing(runner, 'top1')
    with pytest.raises(ValueError, match=r'depth 4 of stage 2 in .*\[1, 4, 1'):
        measure_loafing(runner, subnets=[(1, 1, 1, 1), (1, 4, 1, 1)])


def test_interval_of_the_mean():
    """t quantiles of 1 and 2 degrees of freedom are known in closed form."""
    cauchy = math.tan(math.pi * (0.975 - 0.5))
    two = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))
    for values, quantile in (([1.0, 4.0], cauchy), ([2.0, 3.0, 7.0], two)):
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
        assert compute_mean_and_interval(values) == pytest.approx(
            (mean, quantile * math.sqrt(variance / len(values)))
        )
    mean, half = compute_mean_and_interval([80.5])
    assert mean == 80.5 and math.isnan(half)


RESULTS = {
    'CT': [{'main': 90.0, '1-1': 20.0}],
    'a method of long name': [
        {'main': 92.0, '1-1': 81.0},
        {'main': 94.0, '1-1': 85.0},
    ],
}
FRACTIONS = {
    'CT': [{'main': 0.3722, '1-1': 0.1}, {'main': 0.3, '1-1': 0.1}],
    'alone': [{'1-1': 0.25}, {'2-2': 0.3}],
}


def test_table():
    """The more numerous are the rows, and all lines are as long."""
    for results, expected in (
        (
            dict(RESULTS, third=[{'main': 7.0, '1-1': 5.0}]),
            [
                ['', 'main', '1-1'],
                ['CT', '90.00', '20.00'],
                [list(RESULTS)[1], '93.00 +- 12.71', '83.00 +- 25.41'],
                ['third', '7.00', '5.00'],
            ],
        ),
        (
            FRACTIONS,
            [
                ['', 'CT', 'alone'],
                ['main', '0.3361 +- 0.4587', '-'],
                ['1-1', '0.1000 +- 0.0000', '0.2500'],
                ['2-2', '-', '0.3000'],
            ],
        ),
    ):
        lines = format_loafing_table(results).splitlines()
        assert [re.split(' {2,}', line) for line in lines] == expected
        assert len({len(line) for line in lines}) == 1


def test_picture_shows_every_method():
    results = dict(RESULTS, **{f'method {i}': RESULTS['CT'] for i in range(8)})
    figure = draw_loafing(results, 'accuracy/top1')
    (axes,) = figure.axes
    assert read_names(axes) == ['1-1', 'main']
    assert axes.get_ylabel() == 'accuracy/top1'
    assert read_legend(figure) == list(results)
    looks, markers = set(), set()
    for bars, runs in zip(axes.containers, results.values()):
        points, _, intervals = bars
        looks.add((points.get_color(), points.get_linestyle()))
        markers.add(points.get_marker())
        for x, network in enumerate(('1-1', 'main')):
            mean, half = compute_mean_and_interval([s[network] for s in runs])
            assert points.get_ydata()[x] == mean
            assert len(intervals) == (not math.isnan(half))
            for bar in intervals:
                assert bar.get_segments()[x][:, 1] == pytest.approx(
                    [mean - half, mean + half]
                )
    assert len(axes.containers) == len(looks) == len(markers) == 10


def test_picture_of_a_network_alone_is_at_the_subnet_of_its_depths():
    subnets = {'main': 9.0, '1-1': 2.0, '2-2': 8.0}
    results = {'CT': [subnets], 'alone': [{'2-2': 8.5}]}
    (axes,) = draw_loafing(results, 'accuracy/top1').axes
    assert read_names(axes) == ['1-1', '2-2', 'main']
    points = axes.containers[1][0]
    assert points.get_ydata() == [8.5]
    assert points.get_xdata() == pytest.approx([1], abs=0.1)
