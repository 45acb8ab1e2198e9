"""The method card's numbers are those of the measured scores."""

import json
import re

import pytest

from mmst.analysis.scores import compute_mean_and_interval
from tests.conftest import ROOT

from .tables import frontier_cells, frontier_runs


def test_differences_are_those_of_the_scores():
    results = json.loads((ROOT / 'resources/demo.json').read_text())['results']
    text = (ROOT / 'docs/method_card.md').read_text()
    rows = re.findall(
        r'^\| (\S[^|]*) \| ([^|]+) \| (.\d+\.\d+ ± [^|]+) \| ([^|]+) \|$',
        text,
        re.MULTILINE,
    )
    assert {
        name for first, second, *_ in rows for name in (first, second)
    } == (set(results))
    for first, second, *cells in rows:
        for network, cell in zip(('main', '1-1-1'), cells):
            mean, half = compute_mean_and_interval(
                [
                    new[network] - old[network]
                    for old, new in zip(results[first], results[second])
                ]
            )
            assert cell == f'{mean:+.2f} ± {half:.2f}', (first, second)


@pytest.mark.parametrize(
    'option, arm, lengths',
    [('begin', 'stpp-late', (20, 40, 80)), ('every', 'stpp-every2', (20, 40))],
)
def test_cheaper_schedules_are_those_of_the_numbers(option, arm, lengths):
    text = (ROOT / 'docs/method_card.md').read_text()
    (row,) = re.findall(rf'^\| `{option}` \|.*$', text, re.MULTILINE)
    runs = frontier_runs('frontier')
    for epochs in lengths:
        gain = frontier_cells(runs, arm, epochs)[2]
        assert re.search(rf'{re.escape(gain)} after {epochs}\b', row), row
