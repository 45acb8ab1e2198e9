"""Scores of networks as lines, with their intervals."""

from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

import numpy as np

from .line_styles import choose_line_style, wrap_name
from .scores import Scores, compute_mean_and_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_scores(
    axes: 'Axes', results: Dict[str, List[Scores]], networks: Sequence[str]
) -> None:
    """Draw one line per method over the networks.

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
                *compute_mean_and_interval(
                    [s[name] for s in runs if name in s]
                ),
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
            **choose_line_style(k),
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
    axes.set_xticks(range(len(networks)), [wrap_name(n) for n in networks])
    figure = axes.figure.figure
    width, height = figure.get_size_inches()
    # Of the width, a good part is the axes'.
    room = 0.8 * width / len(networks)
    if _measure_largest_label(axes)[0] > room:
        axes.tick_params('x', rotation=90)
        across, up = _measure_largest_label(axes)
        figure.set_size_inches(width * max(1, across / room), height + up)


def _measure_largest_label(axes: 'Axes') -> Tuple[float, float]:
    """Width and height in inches that the names on the x axis need at most."""
    extents = [label.get_window_extent() for label in axes.get_xticklabels()]
    dpi = axes.figure.figure.dpi
    return (
        max(extent.width for extent in extents) / dpi,
        max(extent.height for extent in extents) / dpi,
    )
