"""Scores of the main network and its subnets."""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.runner import Runner
from scipy import stats

from mmst.evaluation import list_uniform_depths
from mmst.subnets import Subnet, find_stages

MAIN = 'main'
# Metric of each network, MAIN or its depths as in '3-3-3', of one run.
Scores = Dict[str, float]


def name_network(depths: Optional[Sequence[int]]) -> str:
    """Name the main network, or a subnet.

    Example:
        >>> name_network(None), name_network((1, 2, 1))
        ('main', '1-2-1')
    """
    return MAIN if depths is None else '-'.join(map(str, depths))


def list_networks(
    runner: Runner, subnets: Optional[Sequence[Sequence[int]]] = None
) -> List[Optional[Tuple[int, ...]]]:
    """List the main network, as ``None``, and subnets that fit it.

    Raises:
        ValueError: If a subnet does not fit.

    Example:
        >>> list_networks(runner, [(1, 2, 1)])
        [None, (1, 2, 1)]
    """
    blocks = [len(stage) for stage in find_stages(runner.model)]
    if subnets is None:
        subnets = list_uniform_depths(blocks)
    for depths in subnets:
        # Fail now, not after an hour of measuring the others.
        Subnet.ordered(depths, blocks)
    return [None, *dict.fromkeys(map(tuple, subnets))]


def sort_networks(results: Dict[str, List[Scores]]) -> List[str]:
    """Sort all networks of the results: main first, then from the shallowest.

    Example:
        >>> scores = {'3-3-3': 91.0, '1-1-1': 80.0, 'main': 92.0}
        >>> sort_networks({'ST': [scores]})
        ['main', '1-1-1', '3-3-3']
    """
    names = {name for runs in results.values() for run in runs for name in run}

    def get_depth(name: str) -> Tuple[int, List[int]]:
        depths = [int(depth) for depth in name.split('-')]
        return sum(depths), depths

    subnets = sorted(names - {MAIN}, key=get_depth)
    return [MAIN, *subnets] if MAIN in names else subnets


def compute_mean_and_interval(values: Sequence[float]) -> Tuple[float, float]:
    """Compute the mean and half its 95 % confidence interval (Student's t).

    The interval of a single value is NaN.

    Example:
        >>> mean, half = compute_mean_and_interval([80.0, 81.0, 82.0])
        >>> f'{mean:.2f} +- {half:.2f}'
        '81.00 +- 2.48'
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float('nan')
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return mean, float(half)


def format_mean(
    values: Sequence[float], digits: int = 2, sign: str = ''
) -> str:
    """Format the mean of some values and its 95 % confidence interval.

    A single value has no interval, and none at all are a dash. The sign
    ``'+'`` is for differences, which have a sign always.

    Example:
        >>> format_mean([80.0, 81.0, 82.0]), format_mean([0.5])
        ('81.00 +- 2.48', '0.50')
    """
    if len(values) == 0:
        return '-'
    mean, half = compute_mean_and_interval(values)
    text = f'{mean:{sign}.{digits}f}'
    return text if np.isnan(half) else f'{text} +- {half:.{digits}f}'
