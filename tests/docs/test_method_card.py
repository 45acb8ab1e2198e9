"""The method card's numbers are those of the measured scores."""

import json
import re

import numpy as np
import pytest

from mmst.analysis.scores import compute_mean_and_interval
from tests.conftest import ROOT

from .tables import costs_of, frontier_cells, frontier_runs, results_of


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


def test_fine_tuning_is_that_of_the_scenes():
    text = ' '.join((ROOT / 'docs/method_card.md').read_text().split())
    costs = costs_of('demo_downstream')
    longer = costs['mask-rcnn']['scores']['coco/bbox_mAP']
    ours = results_of('demo_downstream')['mask-rcnn']['coco/bbox_mAP']
    assert (
        f'without subnets reached {np.mean(longer):.1f} box AP, against '
        f'{np.mean(ours["st-star"]):.1f}'
    ) in text
    ratios = [np.mean(cost['ratio']) for cost in costs.values()]
    assert 'took 1.5 to 2 times as long' in text
    assert min(ratios) == pytest.approx(1.5, abs=0.05)
    assert max(ratios) == pytest.approx(2, abs=0.05)
