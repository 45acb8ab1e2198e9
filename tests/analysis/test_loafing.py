"""Scores of subnets against an evaluation written out in plain PyTorch."""

import math
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from mmst.analysis.loafing import (
    draw_loafing,
    format_loafing_table,
    measure_loafing,
)
from mmst.analysis.scores import compute_mean_and_interval, list_networks
from mmst.evaluation import evaluate_subnet, list_uniform_depths
from mmst.launch.trained_runner import load_trained_runner
from tests.analysis.evaluation_by_hand import NUM_TRAIN, by_hand
from tests.analysis.pictures import axes_height, check_texts, long_name

UNIFORM = {'1-1-1': (1, 1, 1), '2-2-2': (2, 2, 2), '3-3-3': (3, 3, 3)}


@pytest.mark.parametrize(
    'batch_size, num_samples', [(NUM_TRAIN, 2000), (4, 3)]
)
def test_scores_are_those_of_an_evaluation_by_hand(
    trained, tmp_path, batch_size, num_samples
):
    """Statistics from one batch: of all training images, or of the first."""
    runner, config, checkpoint = trained(batch_size)
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out')
    assert loaded.work_dir == str(tmp_path / 'out')
    top1 = measure_loafing(loaded, 'accuracy/top1', num_samples).scores
    mean = measure_loafing(loaded, 'mean_score', num_samples).scores
    networks = dict(main=None, **UNIFORM)
    assert list(top1) == list(mean) == list(networks)
    for name, depths in networks.items():
        expected = by_hand(runner.model, depths, batch_size)
        assert (top1[name], mean[name]) == pytest.approx(expected, rel=1e-4)
    # The scores tell the networks apart, so that a mix-up would show.
    assert len({round(score, 3) for score in mean.values()}) == len(networks)
    # A runner that has not evaluated anything yet is in training mode.
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'fresh')
    assert evaluate_subnet(loaded, (1, 1, 1), num_samples) == pytest.approx(
        {'accuracy/top1': top1['1-1-1'], 'mean_score': mean['1-1-1']}
    )
    for key, value in runner.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_uniform_depths_end_with_the_deepest_stage():
    assert list_uniform_depths((3, 4, 6, 3)) == [
        (1, 1, 1, 1),
        (2, 2, 2, 2),
        (3, 3, 3, 3),
        (3, 4, 4, 3),
        (3, 4, 5, 3),
        (3, 4, 6, 3),
    ]


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
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    low, high = stats.t.interval(
        0.95, 4, np.mean(values), np.std(values, ddof=1) / math.sqrt(5)
    )
    mean, half = compute_mean_and_interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    mean, half = compute_mean_and_interval([80.5])
    assert mean == 80.5 and math.isnan(half)


RESULTS = {
    'CT': [{'main': 90.0, '1-1': 20.0}],
    'a method of long name': [
        {'main': 92.0, '1-1': 81.0},
        {'main': 94.0, '1-1': 85.0},
    ],
}


def test_table_of_networks_and_methods():
    head, main, subnet = format_loafing_table(RESULTS).splitlines()
    assert head.split('  ')[-1].strip() == 'a method of long name'
    assert len(head) == len(main) == len(subnet)
    for line, name, one, two in (
        (main, 'main', '90.00', (92.0, 94.0)),
        (subnet, '1-1', '20.00', (81.0, 85.0)),
    ):
        mean, half = compute_mean_and_interval(two)
        assert re.split(' {2,}', line) == [
            name,
            one,
            f'{mean:.2f} +- {half:.2f}',
        ]


def test_table_with_more_methods_than_networks_has_these_as_columns():
    results = dict(RESULTS, third=[{'main': 7.0, '1-1': 5.0}])
    head, *lines = format_loafing_table(results).splitlines()
    assert re.split(' {2,}', head.strip()) == ['main', '1-1']
    assert [re.split(' {2,}', line)[0] for line in lines] == list(results)
    assert re.split(' {2,}', lines[2])[1:] == ['7.00', '5.00']
    assert {len(head)} == {len(line) for line in lines}


def test_table_of_fractions_and_of_networks_that_only_some_runs_have():
    results = {
        'CT': [{'main': 0.3721, '1-1': 0.1}, {'main': 0.3, '1-1': 0.1}],
        'alone': [{'1-1': 0.25}, {'2-2': 0.3}],
    }
    lines = [
        re.split(' {2,}', line)
        for line in format_loafing_table(results).splitlines()
    ]
    mean, half = compute_mean_and_interval([0.3721, 0.3])
    assert lines[1:] == [
        ['main', f'{mean:.4f} +- {half:.4f}', '-'],
        ['1-1', '0.1000 +- 0.0000', '0.2500'],
        ['2-2', '-', '0.3000'],
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def watch(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, 'savefig', watch)
    return figures


def test_picture_shows_every_method(tmp_path, drawn):
    path = tmp_path / 'loafing.png'
    results = dict(RESULTS, **{f'method {i}': RESULTS['CT'] for i in range(8)})
    draw_loafing(results, 'accuracy/top1').savefig(path, dpi=150)
    (figure,) = drawn
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ['1-1', 'main']
    assert axes.get_ylabel() == 'accuracy/top1'
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == list(results)
    looks, markers = set(), set()
    for bars, runs in zip(axes.containers, results.values()):
        points, _, intervals = bars
        looks.add((points.get_color(), points.get_linestyle()))
        markers.add(points.get_marker())
        for x, network in enumerate(('1-1', 'main')):
            mean, half = compute_mean_and_interval([s[network] for s in runs])
            assert points.get_ydata()[x] == mean
            assert len(intervals) == (not math.isnan(half))
            for interval in intervals:
                assert interval.get_segments()[x][:, 1] == pytest.approx(
                    [mean - half, mean + half]
                )
    assert len(axes.containers) == len(looks) == len(markers) == 10
    figure.draw_without_rendering()
    assert legend.get_window_extent().y1 < axes.get_tightbbox().y0
    with Image.open(path) as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10


def test_picture_of_a_network_alone_is_at_the_subnet_of_its_depths(
    tmp_path, drawn
):
    results = {
        'CT': [{'main': 9.0, '1-1': 2.0, '2-2': 8.0}],
        'alone': [{'2-2': 8.5}],
    }
    draw_loafing(results, 'accuracy/top1').savefig(tmp_path / 'a.png')
    (axes,) = drawn[0].axes
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        '1-1',
        '2-2',
        'main',
    ]
    points = axes.containers[1][0]
    assert points.get_ydata() == [8.5]
    assert points.get_xdata() == pytest.approx([1], abs=0.1)


@pytest.mark.parametrize(
    'scores', [(150.0, 130.0), (60.0, 101.5), (99.0, 50.0), (0.9, 0.5)]
)
def test_axis_holds_all_scores_with_their_intervals(scores):
    """Also those that reach past what a percentage can be."""
    main, subnet = scores
    runs = [{'main': main - d, '1-1': subnet - d} for d in (0, 0, 0.1 * main)]
    (axes,) = draw_loafing({'CT': runs}, 'a metric').axes
    low, high = axes.get_ylim()
    (interval,) = axes.containers[0][2]
    ends = [segment[:, 1] for segment in interval.get_segments()]
    assert low < min(map(min, ends)) and max(map(max, ends)) < high


@pytest.mark.parametrize('num_methods', [1, 2, 12])
@pytest.mark.parametrize('length', [2, 35, 120])
@pytest.mark.parametrize('num_networks', [1, 6, 24])
def test_names_have_room(num_methods, length, num_networks):
    """And the axes are as high with any of them."""
    networks = ['main', *(f'3-4-{n}-3' for n in range(1, num_networks))]
    scores = dict.fromkeys(networks, 70.0)
    figure = draw_loafing(
        {long_name(k, length): [scores] for k in range(num_methods)},
        'accuracy/top1 (%)',
    )
    check_texts(figure)
    assert axes_height(figure.axes[0]) == pytest.approx(4.2, abs=0.2)


def test_unknown_metric(trained, tmp_path):
    _, config, checkpoint = trained()
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out')
    with pytest.raises(
        ValueError,
        match=r"metric 'top1' is not one of .*"
        r"\['accuracy/top1', 'mean_score'\]",
    ):
        measure_loafing(loaded, 'top1')


def test_training_data_without_an_end(trained, tmp_path):
    """Each subnet gets images from an infinite sampler."""
    _, config, checkpoint = trained(batch_size=4)
    loaded = load_trained_runner(
        config,
        checkpoint,
        tmp_path / 'out',
        {'train_dataloader.sampler.type': 'InfiniteSampler'},
    )
    scores = measure_loafing(loaded, 'mean_score', 8).scores
    assert list(scores) == ['main', *UNIFORM]
    # The same images again: what was drawn before has no part in it.
    assert scores == measure_loafing(loaded, 'mean_score', 8).scores


def test_usual_metric_is_chosen_and_others_are_named(trained, tmp_path):
    _, config, checkpoint = trained()
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out')
    found = measure_loafing(loaded, subnets=[(1, 2, 1)])
    twice = list_networks(loaded, [(1, 2, 1), [1, 2, 1]])
    assert twice == [None, (1, 2, 1)]  # measured once
    assert found.metric == 'accuracy/top1'
    assert list(found.scores) == ['main', '1-2-1']
    with pytest.raises(ValueError, match=r'depth 4 of stage 2 in .*\[1, 4, 1'):
        measure_loafing(loaded, subnets=[(1, 1, 1), (1, 4, 1)])
