"""The tables of the pages, and what their cells have to be."""

import json
from typing import Dict, List, Sequence, Tuple

import numpy as np
from scipy import stats

from tests.conftest import ROOT


def rows_of(page: str, header: str) -> List[List[str]]:
    """The cells of each row of the table with this first line."""
    _, found, rest = (ROOT / page).read_text().partition(f'{header}\n')
    assert found, f'{page} has no table {header}'
    rows = rest.split('\n\n')[0].splitlines()[1:]  # without |---|
    return [[cell.strip() for cell in row[1:-1].split('|')] for row in rows]


def interval(values: Sequence[float], sign: str = '') -> str:
    """Mean and 95 % interval, Student's t, as the pages write them."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f'{np.mean(values):{sign}.2f} ± {half:.2f}'


def results_of(name: str) -> dict:
    """The measured scores in a file of ``resources``."""
    return json.loads((ROOT / f'resources/{name}.json').read_text())['results']


def costs_of(name: str) -> dict:
    """What training without subnets reaches for the same cost."""
    return json.loads((ROOT / f'resources/{name}.json').read_text())['costs']


def by_seed(scores: Sequence[float], digits: int = 1) -> str:
    """A cell with the score of each seed."""
    return ', '.join(f'{score:.{digits}f}' for score in scores)


def digit_scores(method: str, network: str) -> np.ndarray:
    """Of the demo, seed by seed."""
    return np.array([run[network] for run in results_of('demo')[method]])


def comparison(
    without: Sequence[float], with_: Sequence[float], sign: str = '+'
) -> List[str]:
    """Three cells: both methods, and the difference seed by seed."""
    difference = np.array(with_) - np.array(without)
    return [interval(without), interval(with_), interval(difference, sign)]


# (arm, epochs) -> seed -> run
Runs = Dict[Tuple[str, int], Dict[int, dict]]


def frontier_runs(name: str) -> Runs:
    """What ``demo/frontier.py`` measured, one arm after the other."""
    runs: Runs = {}
    text = (ROOT / f'resources/{name}.json').read_text()
    for run in json.loads(text)['runs']:
        same = runs.setdefault((run['arm'], run['epochs']), {})
        same[run['seed']] = run
    return runs


# (arm, epochs) -> part -> a score for each of the same seeds
Parts = Dict[Tuple[str, int], Dict[str, np.ndarray]]


def scores_by_part(name: str) -> Parts:
    """What ``demo/frontier.py`` scored besides, such as exits."""
    runs = frontier_runs(name)
    assert len({(*of,) for of in runs.values()}) == 1
    return {
        key: {
            part: np.array([run['parts'][part] for run in of.values()])
            for part in of[min(of)]['parts']
        }
        for key, of in runs.items()
    }


def mean_of(values: Sequence[float], sign: str = '') -> str:
    """With its interval, which a single seed has not; a dash for none."""
    if len(values) > 1:
        return interval(values, sign)
    return f'{values[0]:{sign}.2f}' if values else '-'


def frontier_cells(runs: Runs, arm: str, epochs: int) -> List[str]:
    """Of one arm and length: seeds, score, gain, costs, CT at that cost.

    The last is linear in the logarithm of the cost, between two lengths of CT
    that were measured, seed by seed; none beyond the shortest and the longest.
    """
    same = runs[arm, epochs]
    ct_of = {e: of for (name, e), of in runs.items() if name == 'ct'}
    ct = ct_of.get(epochs, {})
    gains = [same[s]['score'] - ct[s]['score'] for s in same if s in ct]
    cost = same[min(same)]['multiply_adds']
    seconds = [r['cpu_seconds'] for r in same.values() if r['cpu_seconds']]
    lengths = sorted(ct_of)
    steps = np.log([ct_of[e][0]['multiply_adds'] for e in lengths])
    equal = [
        np.interp(np.log(cost), steps, [ct_of[e][s]['score'] for e in lengths])
        for s in (0, 1, 2)
        if steps[0] - 0.02 < np.log(cost) < steps[-1] + 0.02
    ]
    return [
        str(len(same)),
        mean_of([run['score'] for run in same.values()]),
        '' if arm == 'ct' else mean_of(gains, '+'),
        f'{cost / 1e12:.2f}',
        f'{np.mean(seconds):.0f}' if seconds else '-',
        '' if arm == 'ct' else mean_of(equal),
    ]
