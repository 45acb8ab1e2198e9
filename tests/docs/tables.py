"""The tables of the pages, and what their cells have to be."""

import json
from typing import List, Sequence

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


def digit_scores(method: str, network: str) -> np.ndarray:
    """Of the demo, seed by seed."""
    return np.array([run[network] for run in results_of('demo')[method]])


def comparison(
    without: Sequence[float], with_: Sequence[float], sign: str = '+'
) -> List[str]:
    """Three cells: both methods, and the difference seed by seed."""
    difference = np.array(with_) - np.array(without)
    return [interval(without), interval(with_), interval(difference, sign)]
