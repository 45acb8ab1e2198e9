"""Tables and pictures of what ``demo/compare.py`` has trained."""

from textwrap import fill
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from mmst.analysis.plots import (
    choose_line_style,
    draw_scores,
    label_networks,
    place_legend_below,
)
from mmst.analysis.results import format_table
from mmst.analysis.scores import (
    MAIN,
    compute_mean_and_interval,
    format_mean,
    sort_networks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

#: Marked on the pictures' axes, in percent.
ACCURACIES = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)
#: Arms whose subnets are drawn, where they are trained.
CURED = ('ct', 'st', 'stpp')


class Run(NamedTuple):
    """One finished training.

    Attributes:
        arm: How it was trained, a name of ``arms.py``.
        epochs: Its length.
        seed: Its seed.
        score: Accuracy of the main network at the end, in percent.
        iterations: Its length.
        cpu_seconds: CPU time of the training's process; None if it is not
            known, as after a stop.
        processor: Where it was trained.
        multiply_adds: FLOPs of the whole training, by the cost model.
        parts: Scores of the main network and each subnet, or of what
            follows a pretraining, where they are taken.
    """

    arm: str
    epochs: int
    seed: int
    score: float
    iterations: int
    cpu_seconds: Optional[float]
    processor: str
    multiply_adds: float = float('nan')
    parts: Optional[Dict[str, float]] = None


#: Runs that differ only in their seeds, by arm and epochs.
Groups = Dict[Tuple[str, int], List[Run]]
#: By the label of a line: costs, and at each of them the score of each seed.
Series = Dict[str, Tuple[List[float], List[List[float]]]]


class Family(NamedTuple):
    """A training whose subnets are compared with networks trained alone.

    Attributes:
        label: How it was trained.
        runs: Its runs, seed by seed.
        rivals: By what they were trained for, runs of each network alone.
        flops: FLOPs of one image at test time, of each network.
    """

    label: str
    runs: List[Run]
    rivals: Dict[str, Dict[str, List[Run]]]
    flops: Dict[str, float]


def group_seeds(runs: List[Run], labels: Dict[str, str]) -> Groups:
    """Group the runs of these arms, in their order, then by length."""
    order = list(labels)
    runs = [run for run in runs if run.arm in order]
    groups: Groups = {}
    for run in sorted(runs, key=lambda r: (order.index(r.arm), *r[1:3])):
        groups.setdefault((run.arm, run.epochs), []).append(run)
    return groups


def mean_seconds(runs: List[Run]) -> float:
    """Average the CPU time of the runs that have one; NaN if none has."""
    known = [r.cpu_seconds for r in runs if r.cpu_seconds is not None]
    return float(np.mean(known)) if known else float('nan')


def subtract(new: Dict[int, float], old: Dict[int, float]) -> List[float]:
    """Take differences seed by seed, of the seeds that both have."""
    return [new[seed] - old[seed] for seed in new if seed in old]


def interpolate_scores(runs: List[Run], cost: float) -> Dict[int, float]:
    """Interpolate an arm's scores at a cost between two measured lengths.

    Args:
        runs: Runs of one arm.
        cost: In FLOPs.

    Returns:
        Dict[int, float]: One for each seed, linear in the logarithm of the
        cost; without seeds whose shortest training costs more, or whose
        longest costs less.
    """
    scores = {}
    for seed in sorted({run.seed for run in runs}):
        costs, lengths = zip(
            *sorted(
                (np.log(run.multiply_adds), run.score)
                for run in runs
                if run.seed == seed
            )
        )
        # Lengths of equal cost are only equal up to an epoch.
        if costs[0] - 0.02 <= np.log(cost) <= costs[-1] + 0.02:
            scores[seed] = float(np.interp(np.log(cost), costs, lengths))
    return scores


def format_costs(runs: List[Run], labels: Dict[str, str], plain: str) -> str:
    """Format a row for each arm and length.

    Args:
        runs: All runs.
        labels: Names of arms, in the order of rows.
        plain: The arm that the others are compared with, in as many epochs
            and at the same cost.
    """
    groups = group_seeds(runs, labels)
    baseline = [run for run in runs if run.arm == plain]
    rows = []
    for (arm, epochs), same in groups.items():
        scores = {run.seed: run.score for run in same}
        seconds = mean_seconds(same)
        row = [
            labels[arm],
            f'{epochs}',
            f'{len(same)}',
            format_mean(list(scores.values())),
            f'{same[0].multiply_adds / 1e12:.2f}',
            '-' if np.isnan(seconds) else f'{seconds:.0f}',
        ]
        if arm == plain:
            rows.append([*row, '', '', ''])
            continue
        equal = interpolate_scores(baseline, same[0].multiply_adds)
        long = {r.seed: r.score for r in groups.get((plain, epochs), ())}
        rows.append(
            [
                *row,
                format_mean(subtract(scores, long), sign='+'),
                format_mean(list(equal.values())),
                format_mean(subtract(scores, equal), sign='+'),
            ]
        )
    return format_table(
        [
            '',
            'epochs',
            'seeds',
            'top-1 (%)',
            '10^12 FLOPs',
            'CPU seconds',
            f'minus {labels[plain]}, by seed',
            f'{labels[plain]} at that cost',
            'minus that, by seed',
        ],
        rows,
    )


def format_parts(runs: List[Run], labels: Dict[str, str]) -> str:
    """Format what was scored besides: subnets, or what follows a pretraining.

    Args:
        runs: All runs.
        labels: Names of arms, in the order of rows.

    Returns:
        str: A row for each arm and length, in percent; '' if nothing was.
    """
    groups = group_seeds([run for run in runs if run.parts], labels)
    columns = list(dict.fromkeys(part for r in runs for part in r.parts or ()))
    rows = [
        [labels[arm], f'{epochs}']
        + [
            format_mean([run.parts[c] for run in same if c in run.parts])
            for c in columns
        ]
        for (arm, epochs), same in groups.items()
    ]
    return format_table(['', 'epochs', *columns], rows) if rows else ''


def format_family(family: Family) -> str:
    """Format a row for each network, trained alone for each length."""
    rows = []
    for network, flops in family.flops.items():
        ours = {run.seed: run.parts[network] for run in family.runs}
        for equal, networks in family.rivals.items():
            alone = {run.seed: run.score for run in networks.get(network, ())}
            rows.append(
                [
                    network,
                    f'{flops / 1e6:.1f}',
                    format_mean(list(ours.values())),
                    equal,
                    f'{networks[network][0].epochs}' if alone else '-',
                    f'{len(alone)}',
                    format_mean(list(alone.values())),
                    format_mean(subtract(ours, alone), sign='+'),
                ]
            )
    return format_table(
        [
            family.label,
            'test MFLOPs',
            'top-1 (%)',
            'alone for',
            'epochs',
            'seeds',
            'top-1 (%)',
            'family minus that, by seed',
        ],
        rows,
    )


def draw_costs(runs: List[Run], labels: Dict[str, str]) -> 'Figure':
    """Draw accuracy against FLOPs and against CPU seconds of the training.

    Args:
        runs: All runs.
        labels: Names of arms, in the order of the legend.
    """
    panels: Dict[str, Series] = {}
    for title, measure in (
        (
            'cost of the training ($10^{12}$ FLOPs)',
            lambda same: same[0].multiply_adds / 1e12,
        ),
        ('CPU seconds of the training, one thread', mean_seconds),
    ):
        series: Series = {}
        for (arm, _), same in group_seeds(runs, labels).items():
            costs, scores = series.setdefault(labels[arm], ([], []))
            costs.append(measure(same))
            scores.append([run.score for run in same])
        measured = [cost for costs, _ in series.values() for cost in costs]
        if not np.isnan(measured).all():
            panels[title] = series
    return draw_panels(panels, 'top-1 of the main network (%)')


def draw_families(families: List[Family]) -> 'Figure':
    """Draw accuracy against FLOPs at test time, a panel for each family.

    The family is a line, networks trained alone are points.
    """
    panels: Dict[str, Series] = {}
    for family in families:
        flops = [value / 1e6 for value in family.flops.values()]
        scores = [[run.parts[n] for run in family.runs] for n in family.flops]
        series: Series = {'family': (flops, scores)}
        for k, (equal, networks) in enumerate(family.rivals.items(), start=1):
            found = {name: runs for name, runs in networks.items() if runs}
            if not found:
                continue
            series[f'alone, {equal}'] = (
                # Beside one another, so that none hides another.
                [family.flops[name] / 1e6 * 1.015**k for name in found],
                [[run.score for run in runs] for runs in found.values()],
            )
        label = fill(family.label, 50).replace('10^12', '$10^{12}$')
        title = f'FLOPs of an image at test time ($10^6$)\n{label}'
        panels[title] = series
    return draw_panels(panels, 'top-1 (%)', points=True)


def draw_panels(
    panels: Dict[str, Series], ylabel: str, points: bool = False
) -> 'Figure':
    """Draw means over seeds, with 95 % intervals, against costs.

    Accuracies are spread by the logarithm of the error, or else short
    trainings would squeeze the long ones, which differ by tenths of a point.

    Args:
        panels: Lines of each panel, by the title of its x axis.
        ylabel: Title of the y axis.
        points: Whether all but the first line are points.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

    width = max(7, 5 * len(panels))
    figure = Figure(figsize=(width, 4.4), layout='constrained')
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    means = []
    # A style means the same in each panel, and the legend has them all.
    labels = [*dict.fromkeys(n for series in panels.values() for n in series)]
    drawn: Dict[str, Any] = {}
    for axes, (title, series) in zip(all_axes, panels.items()):
        axes.set_xlabel(title)
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        for label, (costs, scores) in series.items():
            k = labels.index(label)
            style = dict(choose_line_style(k), label=label, capsize=3)
            if points and k:
                style['linestyle'] = 'none'
            found = np.array([compute_mean_and_interval(s) for s in scores])
            mine, halves = found.reshape(-1, 2).T
            bars = None if np.isnan(halves).all() else np.nan_to_num(halves)
            drawn[label] = axes.errorbar(costs, mine, yerr=bars, **style)
            means += mine.tolist()
    first = all_axes[0]
    first.set_ylabel(ylabel)
    first.set_yscale('function', functions=(_spread, _unspread))
    first.yaxis.set_major_locator(FixedLocator(ACCURACIES))
    errors = [max(100 - mean, 0.5) for mean in means]
    # The interval of two seeds would squeeze everything else.
    first.set_ylim(100 - 1.2 * max(errors), 100 - min(errors) / 1.2)
    place_legend_below(figure, [drawn[label] for label in labels], labels)
    return figure


def _spread(accuracies: 'ArrayLike') -> np.ndarray:
    # Intervals may reach beyond 100 %.
    return -np.log(np.maximum(100 - np.asarray(accuracies), 1e-3))


def _unspread(values: 'ArrayLike') -> np.ndarray:
    return 100 - np.exp(-np.asarray(values))


def draw_gains(runs: List[Run], labels: Dict[str, str]) -> 'Figure':
    """Draw the cure, subnets alone, and the gain of the main network.

    Args:
        runs: Runs of one length, with scores of subnets. Gains are over the
            first arm that is there, seed by seed.
        labels: Names of arms, in the order of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    groups = group_seeds(runs, labels)
    by_arm = {arm: same for (arm, _), same in groups.items()}
    cured = {
        labels[arm]: [run.parts for run in same]
        for arm, same in by_arm.items()
        if arm in CURED or by_arm.keys().isdisjoint(CURED)
    }
    networks = [name for name in sort_networks(cured) if name != MAIN]
    draw_scores(left, cured, networks)
    label_networks(left, networks)
    left.set_xlabel('blocks kept in each stage')
    left.set_ylabel('top-1 (%)')
    left.set_title('The cure: subnets alone')
    left.legend(loc='lower right')
    first, *others = by_arm
    plain = {run.seed: run.score for run in by_arm[first]}
    style = dict(choose_line_style(2), linestyle='none', capsize=3)
    right.axvline(0, color='black', linewidth=1)
    for y, arm in enumerate(others):
        gains = subtract({r.seed: r.score for r in by_arm[arm]}, plain)
        mean, half = compute_mean_and_interval(gains)
        right.errorbar([mean], [y], xerr=np.nan_to_num([half]), **style)
        # Below the interval, so that neither hides the other.
        right.plot(gains, [y + 0.25] * len(gains), '.', color='0.6')
    right.set_yticks(range(len(others)), [labels[arm] for arm in others])
    right.invert_yaxis()
    right.grid(axis='x', alpha=0.3)
    right.set_xlabel(f'points of top-1 over {labels[first]}; grey: seeds')
    right.set_title('The gain: the main network')
    return figure
