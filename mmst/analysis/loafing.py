"""Network loafing: how a trained network's subnets fare by themselves.

A subnet that was trained only as a part of the whole does far worse alone
than its size would let it (Fig. 1); stimulative training is to cure that
(Fig. 8).
"""

from typing import (
    TYPE_CHECKING,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
from mmengine.runner import Runner
from scipy import stats

from mmst.evaluation import evaluate_subnet, uniform_depths
from mmst.subnets import Subnet, find_stages

from .line_styles import legend_below, line_style, wrapped
from .metric_names import choose_metric
from .results import score_digits, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAIN = 'main'
# Metric of each network, MAIN or its depths as in '3-3-3', of one run.
Scores = Dict[str, float]


class Measured(NamedTuple):
    """Scores of one run.

    Attributes:
        metric: What they are, by its name in the evaluator's output.
        scores: Of each network.
    """

    metric: str
    scores: Scores


def network_name(depths: Optional[Sequence[int]]) -> str:
    """The main network's name, or a subnet's."""
    return MAIN if depths is None else '-'.join(map(str, depths))


def measure_loafing(
    runner: Runner,
    metric: Optional[str] = None,
    num_samples: int = 2000,
    subnets: Optional[Sequence[Sequence[int]]] = None,
) -> Measured:
    """Score the main network and subnets of it.

    Args:
        runner: See :func:`mmst.evaluation.evaluate_subnet`.
        metric: The metric to read, such as ``accuracy/top1``. Default: the
            usual one of the task.
        num_samples: Training images to re-estimate BatchNorm statistics from,
            for each subnet.
        subnets: The depths of each subnet. Default: uniform ones.

    Raises:
        ValueError: If the evaluator does not give that metric, or a subnet
            does not fit the network.
    """
    networks = networks_of(runner, subnets)
    scores = {}
    for number, depths in enumerate(networks, 1):
        name = network_name(depths)
        runner.logger.info(f'Network {number} of {len(networks)}: {name}')
        metrics = evaluate_subnet(runner, depths, num_samples)
        metric = choose_metric(metrics, metric)
        scores[name] = float(metrics[metric])
    assert metric is not None  # the main network was measured
    return Measured(metric, scores)


def networks_of(
    runner: Runner, subnets: Optional[Sequence[Sequence[int]]] = None
) -> List[Optional[Tuple[int, ...]]]:
    """The main network, as ``None``, and subnets that fit it.

    Raises:
        ValueError: If a subnet does not fit.
    """
    blocks = [len(stage) for stage in find_stages(runner.model)]
    if subnets is None:
        subnets = uniform_depths(blocks)
    for depths in subnets:
        # Now, and not after an hour of measuring the others.
        Subnet.ordered(depths, blocks)
    return [None, *dict.fromkeys(map(tuple, subnets))]


def mean_and_interval(values: Sequence[float]) -> Tuple[float, float]:
    """Mean and half the width of its 95 % confidence interval (Student's t).

    Args:
        values: One value a seed. The interval of a single one is NaN.
    """
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, float('nan')
    half = stats.t.ppf(0.975, len(array) - 1) * stats.sem(array)
    return mean, float(half)


def network_names(results: Dict[str, List[Scores]]) -> List[str]:
    """All networks of some results: the main one, then from the shallowest."""
    names = {name for runs in results.values() for run in runs for name in run}

    def size(name: str) -> Tuple[int, List[int]]:
        depths = [int(depth) for depth in name.split('-')]
        return sum(depths), depths

    subnets = sorted(names - {MAIN}, key=size)
    return [MAIN, *subnets] if MAIN in names else subnets


def loafing_table(results: Dict[str, List[Scores]]) -> str:
    """A table of networks and training methods, the more numerous as rows.

    Args:
        results: For each method, the scores of each of its runs. A run may
            lack some of the networks.
    """
    networks, methods = network_names(results), list(results)
    largest = max(
        abs(score)
        for runs in results.values()
        for run in runs
        for score in run.values()
    )
    digits = score_digits(largest)

    def cell(method: str, network: str) -> str:
        values = [run[network] for run in results[method] if network in run]
        if not values:
            return '-'
        mean, half = mean_and_interval(values)
        return f'{mean:.{digits}f}' + (
            '' if np.isnan(half) else f' +- {half:.{digits}f}'
        )

    if len(methods) > len(networks):
        return text_table(
            ['', *networks],
            [
                [method, *(cell(method, n) for n in networks)]
                for method in methods
            ],
        )
    return text_table(
        ['', *methods],
        [
            [network, *(cell(m, network) for m in methods)]
            for network in networks
        ],
    )


def draw_loafing(results: Dict[str, List[Scores]], metric: str) -> 'Figure':
    """Draw the scores of main network and subnets, method by method.

    Args:
        results: For each method, the scores of each of its runs. Of several
            runs the mean is drawn, with its 95 % interval.
        metric: What the scores are and in which unit, for the axis.
    """
    # Here, so that numbers can be had on machines without a display library.
    from matplotlib.figure import Figure

    networks = network_names(results)
    if MAIN in networks:
        networks = networks[1:] + [MAIN]
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(networks)), 4.8), layout='constrained'
    )
    axes = figure.subplots()
    draw_scores(axes, results, networks)
    label_networks(axes, networks)
    axes.set_xlabel('network: blocks kept in each stage, or the main network')
    axes.set_ylabel(metric)
    means = np.concatenate([bars[0].get_ydata() for bars in axes.containers])
    if not (means > 100).any():
        # Intervals may reach past what a percentage can be.
        axes.set_ylim(top=min(101, axes.get_ylim()[1]))
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def draw_scores(
    axes: 'Axes', results: Dict[str, List[Scores]], networks: Sequence[str]
) -> None:
    """Draw one line a method over the networks.

    Args:
        axes: Where to draw.
        results: For each method, the scores of each of its runs.
        networks: In the order of the axis.
    """
    # Side by side, so that equal scores do not hide one another.
    step = min(0.07, 0.7 / len(results))
    for k, (method, runs) in enumerate(results.items()):
        points = [
            (
                x + step * (k - (len(results) - 1) / 2),
                *mean_and_interval([s[name] for s in runs if name in s]),
            )
            for x, name in enumerate(networks)
            if any(name in scores for scores in runs)
        ]
        x, means, halves = zip(*points)
        axes.errorbar(
            x,
            means,
            # A single run has no interval, and no bar then.
            yerr=halves if np.isfinite(halves).any() else None,
            capsize=3,
            label=method,
            **line_style(k),
        )
    axes.grid(axis='y', alpha=0.3)


def label_networks(axes: 'Axes', networks: Sequence[str]) -> None:
    """Write the networks' names below the axes.

    Args:
        axes: Where :func:`draw_scores` drew. Its figure grows if names have
            to be written upwards.
        networks: In the order of the axis.
    """
    axes.set_xlim(-0.5, len(networks) - 0.5)
    axes.set_xticks(range(len(networks)), [wrapped(n) for n in networks])
    figure = axes.figure.figure
    width, height = figure.get_size_inches()
    # Of the width, a good part is the axes'.
    room = 0.8 * width / len(networks)
    if _largest_label(axes)[0] > room:
        axes.tick_params('x', rotation=90)
        across, up = _largest_label(axes)
        figure.set_size_inches(width * max(1, across / room), height + up)


def _largest_label(axes: 'Axes') -> Tuple[float, float]:
    """Width and height in inches that the names on the x axis need at most."""
    extents = [label.get_window_extent() for label in axes.get_xticklabels()]
    dpi = axes.figure.figure.dpi
    return (
        max(extent.width for extent in extents) / dpi,
        max(extent.height for extent in extents) / dpi,
    )


def plot_loafing(
    results: Dict[str, List[Scores]], metric: str, path: str
) -> None:
    """Write what :func:`draw_loafing` draws.

    Args:
        results: See there.
        metric: See there.
        path: The PNG to write.
    """
    draw_loafing(results, metric).savefig(path, dpi=150)
