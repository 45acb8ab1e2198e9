"""The picture of the README shows what was measured."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from tests.conftest import ROOT

SCORES = ROOT / 'resources/demo.json'


@pytest.fixture
def tool(load_tool):
    return load_tool('demo/gain_figure')


@pytest.fixture
def results():
    return json.loads(SCORES.read_text())['results']


def test_gains_are_drawn_with_their_intervals(tool, results):
    _, right = tool.draw_cure_and_gain(results).axes
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == list(tool.GAINING.values())
    bars = {bar[0].get_ydata()[0]: bar for bar in right.containers}
    for y, method in enumerate(tool.GAINING):
        gains = np.array(
            [
                ours['main'] - ct['main']
                for ours, ct in zip(results[method], results['CT'])
            ]
        )
        low, high = stats.t.interval(
            0.95, len(gains) - 1, gains.mean(), stats.sem(gains)
        )
        point, _, (bar,) = bars[y]
        assert point.get_xdata() == pytest.approx([gains.mean()])
        ((start, _), (end, _)) = bar.get_segments()[0]
        assert (start, end) == pytest.approx((low, high)), method
        seeds = [
            line.get_xdata()
            for line in right.lines
            if len(line.get_xdata()) == len(gains)
            and math.isclose(line.get_ydata()[0], y + 0.25)
        ]
        np.testing.assert_allclose(seeds, [gains])


def test_subnets_alone_are_drawn(tool, results):
    left, _ = tool.draw_cure_and_gain(results).axes
    names = [label.get_text() for label in left.get_xticklabels()]
    assert names == ['1-1-1', '2-2-2', '3-3-3']
    for bar in left.containers:
        runs = results[bar.get_label()]
        means = [np.mean([run[name] for run in runs]) for name in names]
        assert list(bar[0].get_ydata()) == pytest.approx(means)
    assert [bar.get_label() for bar in left.containers] == ['CT', 'ST', 'ST++']


def test_writes_the_picture(tool, tmp_path):
    path = tmp_path / 'gain.png'
    tool.main([str(SCORES), str(path)])
    assert path.read_bytes().startswith(b'\x89PNG')
