"""Accuracy against the cost of training: a table and a picture."""

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

from mmst.analysis.plots import choose_line_style, place_legend_below
from mmst.analysis.results import format_table
from mmst.analysis.scores import compute_mean_and_interval, format_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

#: Marked on the picture's axis, in percent.
ACCURACIES = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)


class Run(NamedTuple):
    """One finished training.

    Attributes:
        arm: How it was trained, a name of ``frontier_arms.py``.
        epochs: Its length.
        seed: Its seed.
        score: Accuracy of the main network at the end, in percent.
        iterations: Its length.
        cpu_seconds: Of the training's process; None if it is not known, as
            after a stop.
        processor: Where it was trained.
        multiply_adds: Of the whole training, by the cost model.
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


class Point(NamedTuple):
    """Trainings that differ only in their seeds.

    Attributes:
        arm: How they were trained.
        epochs: Their length.
        seeds: Their seeds.
        score: Mean of their scores.
        half: Half the width of its 95 % interval; NaN for one seed.
        multiply_adds: Of one training.
        cpu_seconds: Mean over the seeds with known time; NaN if none.
    """

    arm: str
    epochs: int
    seeds: Sequence[int]
    score: float
    half: float
    multiply_adds: float
    cpu_seconds: float


def group_seeds(runs: Sequence[Run]) -> Dict[Tuple[str, int], List[Run]]:
    """Group runs that differ in their seeds by arm and length.

    The shortest come first, and in a group the lowest seed.
    """
    groups: Dict[Tuple[str, int], List[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.epochs, run.seed)):
        groups.setdefault((run.arm, run.epochs), []).append(run)
    return groups


def find_points(runs: Sequence[Run]) -> List[Point]:
    """Join runs that differ in their seeds, the shortest of each arm first."""
    points = []
    for (arm, epochs), group in group_seeds(runs).items():
        known = [r.cpu_seconds for r in group if r.cpu_seconds is not None]
        points.append(
            Point(
                arm,
                epochs,
                [run.seed for run in group],
                *compute_mean_and_interval([run.score for run in group]),
                group[0].multiply_adds,
                float(np.mean(known)) if known else float('nan'),
            )
        )
    return points


def interpolate_scores(runs: Sequence[Run], cost: float) -> List[float]:
    """Interpolate an arm's scores at a cost between two measured lengths.

    Args:
        runs: Of one arm.
        cost: In multiply-adds.

    Returns:
        List[float]: One for each seed, linear in the logarithm of the cost;
        without seeds whose shortest training costs more, or whose longest
        costs less.
    """
    scores = []
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
            scores.append(float(np.interp(np.log(cost), costs, lengths)))
    return scores


def format_frontier(
    runs: Sequence[Run], arms: Dict[str, str], plain: str
) -> str:
    """Format a row for each arm and length.

    Args:
        runs: All runs.
        arms: Names of arms, in the order of rows.
        plain: The arm that the others are compared with at equal cost.
    """
    points = find_points(runs)
    baseline = [run for run in runs if run.arm == plain]
    scores = {(run.arm, run.epochs, run.seed): run.score for run in runs}
    rows = []
    for arm, label in arms.items():
        for point in (point for point in points if point.arm == arm):
            gains = [
                scores[arm, point.epochs, seed]
                - scores[plain, point.epochs, seed]
                for seed in point.seeds
                if (plain, point.epochs, seed) in scores
            ]
            equal = interpolate_scores(baseline, point.multiply_adds)
            rows.append(
                [
                    label,
                    f'{point.epochs}',
                    f'{len(point.seeds)}',
                    format_mean(
                        [scores[arm, point.epochs, s] for s in point.seeds]
                    ),
                    '' if arm == plain else format_mean(gains, sign='+'),
                    f'{point.multiply_adds / 1e12:.2f}',
                    _format_seconds(point.cpu_seconds),
                    '' if arm == plain else format_mean(equal),
                ]
            )
    return format_table(
        [
            '',
            'epochs',
            'seeds',
            'top-1 (%)',
            f'minus {arms[plain]}, by seed',
            '10^12 multiply-adds',
            'CPU seconds',
            f'{arms[plain]} at that cost',
        ],
        rows,
    )


def format_parts(runs: Sequence[Run], arms: Dict[str, str]) -> str:
    """Format what was scored besides: exits, or what follows a pretraining.

    Args:
        runs: All runs.
        arms: Names of arms, in the order of rows.

    Returns:
        str: A row for each arm and length, in percent; '' if nothing was.
    """
    columns = list(dict.fromkeys(part for r in runs for part in r.parts or ()))
    if not columns:
        return ''
    groups = group_seeds(runs)
    rows = []
    for arm, label in arms.items():
        for (name, epochs), same in groups.items():
            if name == arm:
                scores = [run.parts or {} for run in same]
                cells = (
                    format_mean([parts[column] for parts in scores])
                    for column in columns
                )
                rows.append([label, f'{epochs}', *cells])
    return format_table(['', 'epochs', *columns], rows)


def _format_seconds(seconds: float) -> str:
    return '-' if np.isnan(seconds) else f'{seconds:.0f}'


def draw_frontier(runs: Sequence[Run], arms: Dict[str, str]) -> 'Figure':
    """Draw accuracy against multiply-adds and against CPU seconds.

    Accuracies are spread by the logarithm of the error, or else short
    trainings would squeeze the long ones, which differ by tenths of a point.

    Args:
        runs: All runs. For several seeds the mean is drawn, with its 95 %
            interval.
        arms: Names of arms.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

    points = find_points(runs)
    # In the order of the table.
    arms = {
        arm: label
        for arm, label in arms.items()
        if any(point.arm == arm for point in points)
    }
    costs = {
        'cost of the training ($10^{12}$ multiply-adds)': [
            point.multiply_adds / 1e12 for point in points
        ],
        'CPU seconds of the training, one thread': [
            point.cpu_seconds for point in points
        ],
    }
    # No panel for what was not measured.
    costs = {k: v for k, v in costs.items() if not np.isnan(v).all()}
    figure = Figure(figsize=(5 * len(costs), 4.4), layout='constrained')
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (title, all_costs) in zip(panels, costs.items()):
        axes.set_xlabel(title)
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        for k, (arm, label) in enumerate(arms.items()):
            mine = [i for i, point in enumerate(points) if point.arm == arm]
            halves = [np.nan_to_num(points[i].half) for i in mine]
            axes.errorbar(
                [all_costs[i] for i in mine],
                [points[i].score for i in mine],
                yerr=halves if any(halves) else None,
                capsize=3,
                label=label,
                **choose_line_style(k),
            )
    panels[0].set_ylabel('top-1 of the main network (%)')
    panels[0].set_yscale('function', functions=(_spread, _unspread))
    panels[0].yaxis.set_major_locator(FixedLocator(ACCURACIES))
    errors = [max(100 - point.score, 0.5) for point in points]
    # The interval of two seeds would squeeze everything else.
    panels[0].set_ylim(100 - 1.2 * max(errors), 100 - min(errors) / 1.2)
    place_legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def _spread(accuracies: 'ArrayLike') -> np.ndarray:
    # Intervals may reach beyond 100 %.
    return -np.log(np.maximum(100 - np.asarray(accuracies), 1e-3))


def _unspread(values: 'ArrayLike') -> np.ndarray:
    return 100 - np.exp(-np.asarray(values))
