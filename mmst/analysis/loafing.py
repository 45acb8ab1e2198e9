"""Network loafing: how well a trained network's subnets work alone.

A subnet that was trained only as a part of the whole is far worse alone than
a network of its size could be (Fig. 1); stimulative training is meant to fix
that (Fig. 8).
"""

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from mmengine.runner import Runner

from mmst.evaluation import evaluate_subnet

from .plots import draw_score_panels
from .results import choose_digits, choose_metric, format_table, show_progress
from .scores import (
    Scores,
    format_mean,
    list_networks,
    name_network,
    sort_networks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure_loafing(
    runner: Runner,
    metric: Optional[str] = None,
    num_samples: int = 2000,
    subnets: Optional[Sequence[Sequence[int]]] = None,
) -> Tuple[str, Scores]:
    """Score the main network and subnets of it.

    Args:
        runner: A runner with the trained weights, validation and a training
            data loader.
        metric: The metric to read, such as ``accuracy/top1``. Default: the
            usual one of the task.
        num_samples: Training images to re-estimate BatchNorm statistics from,
            for each subnet.
        subnets: The depths of each subnet. Default: uniform ones.

    Returns:
        tuple: The metric's name, and the score of each network.

    Raises:
        ValueError: If the evaluator does not return that metric, or a subnet
            does not fit the network.

    Example:
        >>> metric, scores = measure_loafing(
        ...     runner, num_samples=12, subnets=[(1, 2, 1)])
        >>> metric, list(scores)
        ('accuracy/top1', ['main', '1-2-1'])
    """
    scores = {}
    for depths in show_progress(list_networks(runner, subnets), 'networks'):
        metrics = evaluate_subnet(runner, depths, num_samples)
        metric = choose_metric(metrics, metric)
        scores[name_network(depths)] = float(metrics[metric])
    assert metric is not None  # the main network was measured
    return metric, scores


def format_loafing_table(results: Dict[str, List[Scores]]) -> str:
    """Format a table of networks and methods, the more numerous as rows.

    Each method has the scores of its runs, which may lack some networks.

    Example:
        >>> scores = {'main': 92.0, '1-1-1': 80.0}
        >>> print(format_loafing_table({'ST': [scores]}))
                  ST
        main   92.00
        1-1-1  80.00
    """
    digits = choose_digits(
        abs(score)
        for runs in results.values()
        for run in runs
        for score in run.values()
    )
    networks = sort_networks(results)
    table = [['', *results]]
    for name in networks:
        scores = (
            [run[name] for run in runs if name in run]
            for runs in results.values()
        )
        table.append([name, *(format_mean(each, digits) for each in scores)])
    if len(results) > len(networks):
        table = [list(column) for column in zip(*table)]
    return format_table(table[0], table[1:])


def draw_loafing(results: Dict[str, List[Scores]], metric: str) -> 'Figure':
    """Draw the scores of main network and subnets, method by method.

    Several runs are drawn as their mean, with its 95 % interval. The metric is
    named with its unit, for the axis.

    Example:
        >>> scores = {'main': 92.0, '1-1-1': 80.0}
        >>> figure = draw_loafing({'ST': [scores]}, 'accuracy/top1 (%)')
        >>> figure.savefig(folder / 'loafing.png')
    """
    return draw_score_panels({metric: results})
