"""Network loafing: how a trained network's subnets fare by themselves.

A subnet that was trained only as a part of the whole does far worse alone
than its size would let it (Fig. 1); stimulative training is to cure that
(Fig. 8).
"""
from itertools import cycle
from typing import Dict, List, Sequence, Tuple

import numpy as np
from mmengine.runner import Runner
from scipy import stats

from mmst.subnets import find_stages
from .subnet_metrics import evaluate_subnet

MAIN = 'main'
# Metric of each network, MAIN or its depths as in '3-3-3', of one run.
Scores = Dict[str, float]


def uniform_depths(num_blocks: Sequence[int]) -> List[Tuple[int, ...]]:
    """Subnets with at most d blocks in every stage, for d = 1, 2 ...

    Args:
        num_blocks: Number of blocks of each stage.
    """
    return [
        tuple(min(d, full) for full in num_blocks)
        for d in range(1, max(num_blocks) + 1)
    ]


def measure_loafing(runner: Runner,
                    metric: str,
                    num_samples: int = 2000) -> Scores:
    """Score the main network and its subnets of uniform depth.

    Args:
        runner: See :func:`evaluate_subnet`.
        metric: The metric to read, such as ``accuracy/top1``.
        num_samples: Training images to re-estimate BatchNorm statistics from,
            for each subnet.

    Raises:
        ValueError: If the evaluator does not give that metric.
    """
    scores = {}
    blocks = [len(stage) for stage in find_stages(runner.model)]
    for depths in [None, *uniform_depths(blocks)]:
        metrics = evaluate_subnet(runner, depths, num_samples)
        if metric not in metrics:
            raise ValueError(f"metric '{metric}' is not one of those that the "
                             f'evaluator gives: {sorted(metrics)}')
        name = MAIN if depths is None else '-'.join(map(str, depths))
        scores[name] = float(metrics[metric])
    return scores


def mean_and_interval(values: Sequence[float]) -> Tuple[float, float]:
    """Mean and half the width of its 95 % confidence interval (Student's t).

    Args:
        values: One value a seed. The interval of a single one is NaN.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()), float('nan')
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean()), float(half)


def loafing_table(results: Dict[str, List[Scores]]) -> str:
    """A table of networks against training methods.

    Args:
        results: For each method, the scores of each of its runs.
    """
    methods = list(results)
    networks = list(next(iter(results.values()))[0])
    width = max(16, *(len(m) + 2 for m in methods))
    lines = [' ' * 16 + ''.join(f'{m:>{width}}' for m in methods)]
    for network in networks:
        cells = []
        for method in methods:
            mean, half = mean_and_interval(
                [scores[network] for scores in results[method]])
            cells.append(f'{mean:.2f}' if np.isnan(half) else
                         f'{mean:.2f} +- {half:.2f}')
        lines.append(f'{network:<16}' + ''.join(f'{c:>{width}}'
                                                for c in cells))
    return '\n'.join(lines)


def plot_loafing(results: Dict[str, List[Scores]], metric: str,
                 path: str) -> None:
    """Draw the scores of main network and subnets, method by method.

    Args:
        results: For each method, the scores of each of its runs. Of several
            runs the mean is drawn, with its 95 % interval.
        metric: What the scores are and in which unit, for the axis.
        path: The PNG to write.
    """
    # Here, so that numbers can be had on machines without a display library.
    from matplotlib.figure import Figure
    networks = list(next(iter(results.values()))[0])
    networks = [n for n in networks if n != MAIN] + [MAIN]
    figure = Figure(figsize=(6.4, 4.2), layout='constrained')
    axes = figure.subplots()
    x = np.arange(len(networks))
    # Colours of Okabe and Ito, which colour-blind readers can tell apart.
    styles = cycle(
        zip(('#D55E00', '#0072B2', '#009E73', '#CC79A7', '#000000'), 'os^Dv'))
    for k, (method, runs) in enumerate(results.items()):
        color, marker = next(styles)
        pairs = [
            mean_and_interval([scores[n] for scores in runs]) for n in networks
        ]
        # Side by side, so that equal scores do not hide one another.
        axes.errorbar(
            x + 0.07 * (k - (len(results) - 1) / 2),
            [mean for mean, _ in pairs],
            yerr=np.nan_to_num([half for _, half in pairs]),
            color=color, marker=marker, capsize=3, label=method)
    axes.set_xticks(x, networks)
    axes.set_xlabel('network: blocks kept in each stage, or the main network')
    axes.set_ylabel(metric)
    # Intervals may reach past what a percentage can be.
    axes.set_ylim(top=min(101, axes.get_ylim()[1]))
    axes.grid(axis='y', alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
