"""The look of the analyses' pictures: styles, legend, lines of scores.

Matplotlib is imported by the functions that draw, so that numbers work on
machines without it.
"""

from itertools import count
from math import ceil, cos, pi, sin
from textwrap import fill
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
from numpy.typing import NDArray

from .scores import MAIN, Scores, compute_mean_and_interval, sort_networks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Styles = Dict[str, Dict[str, Any]]

# The colours of Okabe and Ito, which colour-blind readers can tell apart.
COLORS = (
    '#D55E00',
    '#0072B2',
    '#009E73',
    '#CC79A7',
    '#000000',
    '#E69F00',
    '#56B4E9',
    '#F0E442',
)
# For all that belongs to no run.
GREY = '#999999'
MARKERS = 'os^DvP*X<>'
LINES = ('-', '--', '-.', ':')
# Styles that mean the same in every picture, whatever else is in it.
METHODS = {'CT': 0, 'ST++': 1, 'ST': 2, 'ST*': 3, MAIN: 4}
# Characters in a line of a name.
WIDTH = 40


def choose_line_style(index: int) -> Dict[str, Any]:
    """Choose colour, marker and line of the index-th series of a picture.

    The first forty all look different. The first ten have different markers,
    for pictures printed in grey.
    """
    return dict(
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index // 5 % len(LINES)],
        # The light colours need an edge to be seen on white.
        markeredgecolor='#333333',
        markeredgewidth=0.5,
    )


def choose_line_styles(names: Iterable[str]) -> Styles:
    """Choose the style of each series: of METHODS, or the next that is left.

    Args:
        names: Names of runs, methods or networks.
    """
    names = list(names)
    taken = {METHODS.get(name) for name in names}
    free = (index for index in count() if index not in taken)
    return {
        name: choose_line_style(
            METHODS[name] if name in METHODS else next(free)
        )
        for name in names
    }


def place_legend_below(
    figure: 'Figure', handles: List[Any], labels: List[str]
) -> None:
    """Put the legend under the axes, where it hides no data.

    The figure, of the layout 'constrained' or 'compressed', grows by the
    legend's height. Long names are written on several lines.
    """
    # Take as few rows as the figure's width allows.
    for rows in range(1, len(labels) + 1):
        legend = figure.legend(
            handles,
            [fill(label, WIDTH) for label in labels],
            loc='outside lower center',
            ncols=ceil(len(labels) / rows),
            frameon=False,
        )
        extent = legend.get_window_extent()
        if rows == len(labels) or extent.width < 0.97 * figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


def draw_score_panels(
    panels: Dict[str, Dict[str, List[Scores]]],
    networks: Optional[Sequence[str]] = None,
    styles: Optional[Styles] = None,
) -> 'Figure':
    """Draw panels below one another, with a line per method over networks.

    Args:
        panels: For the label of each panel's y axis, the scores of each of a
            method's runs. Of several runs the mean is drawn, with its 95 %
            interval.
        networks: Names of whole networks on the x axis, of one method. By
            default it has subnets, the shallowest first, and the main network.
        styles: Style of each method; default: by its name.
    """
    from matplotlib.figure import Figure

    names = networks or sorted(
        sort_networks(next(iter(panels.values()))),
        key=lambda name: name == MAIN,
    )
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(names)), 3.6 + 1.2 * len(panels)),
        layout='constrained',
    )
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, panel) in zip(rows, panels.items()):
        draw_scores(axes, panel, names, styles)
        axes.set_ylabel(label)
    label_networks(rows[-1], names)
    if networks:
        rows[-1].set_xlabel('network')
        return figure
    rows[-1].set_xlabel(
        'network: blocks kept in each stage, or the main network'
    )
    place_legend_below(figure, *rows[0].get_legend_handles_labels())
    return figure


def draw_scores(
    axes: 'Axes',
    results: Dict[str, List[Scores]],
    networks: Sequence[str],
    styles: Optional[Styles] = None,
) -> None:
    """Draw one line per method over the networks, in the order of the axis."""
    # Side by side, so that equal scores do not hide one another.
    step = min(0.07, 0.7 / len(results))
    styles = styles or choose_line_styles(results)
    for k, (method, runs) in enumerate(results.items()):
        shift = step * (k - (len(results) - 1) / 2)
        points = []
        for place, name in enumerate(networks):
            found = [scores[name] for scores in runs if name in scores]
            if found:
                mean, half = compute_mean_and_interval(found)
                points.append((place + shift, mean, half))
        x, means, halves = zip(*points)
        axes.errorbar(
            x,
            means,
            # A single run has no interval, and no bar then.
            yerr=halves if np.isfinite(halves).any() else None,
            capsize=3,
            label=method,
            **styles[method],
        )
    axes.grid(axis='y', alpha=0.3)


def label_networks(axes: 'Axes', networks: Sequence[str]) -> None:
    """Write the networks' names below the axes of :func:`draw_scores`.

    The figure grows if names have to be written upwards.
    """
    axes.set_xlim(-0.5, len(networks) - 0.5)
    axes.set_xticks(range(len(networks)), [fill(n, WIDTH) for n in networks])
    figure = axes.figure.figure
    width, height = figure.get_size_inches()
    # The axes take about 80 % of the figure's width.
    room = 0.8 * width / len(networks)
    if _measure_largest_label(axes)[0] > room:
        axes.tick_params('x', rotation=90)
        across, up = _measure_largest_label(axes)
        figure.set_size_inches(width * max(1, across / room), height + up)


def _measure_largest_label(axes: 'Axes') -> Tuple[float, float]:
    """Measure the largest width and height of the x axis' names, in inches."""
    sizes = [text.get_window_extent().size for text in axes.get_xticklabels()]
    width, height = np.max(sizes, axis=0) / axes.figure.figure.dpi
    return width, height


def name_points(
    axes: 'Axes', points: Sequence[Tuple[float, float]], names: Sequence[str]
) -> None:
    """Write names beside points, inside the axes and not over one another.

    Call it last: the axes must have their size. Names that find no room near
    their points stand farther away, with a thin line between; where there is
    none at all, they overlap as little as possible.

    Args:
        axes: The axes that the points are drawn in.
        points: (x, y) of each point, in data coordinates. No name hides one.
        names: Names of the first points, the first in the best places.
    """
    figure = axes.figure.figure
    figure.draw_without_rendering()
    scale = figure.dpi / 72  # pixels per point
    frame = axes.bbox.get_points()
    pixels = axes.transData.transform(points)
    # Corners of boxes in pixels, (N, 2, 2): first the markers.
    taken = pixels[:, None] + 3.5 * scale * np.array([[-1, -1], [1, 1]])
    for point, pixel, name in zip(points, pixels, names):
        text = axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords='offset points',
            fontsize=7,
            ha='center',
            va='center',
            arrowprops=dict(arrowstyle='-', color=GREY, lw=0.5, shrinkB=3),
        )
        text.set_in_layout(False)
        half = np.array(text.get_window_extent().size) / 2
        offsets = [
            np.array([cos(angle), sin(angle)]) * (half + distance * scale)
            for distance in (4, 10, 18, 28, 40, 56)
            for angle in np.arange(0, 2, 1 / 8) * pi
        ]
        boxes = [pixel + offset + [-half, half] for offset in offsets]
        # An area outside of the axes is worse than one over another name.
        hidden = [
            _sum_overlaps(box, taken) - 10 * _sum_overlaps(box, frame[None])
            for box in boxes
        ]
        best = int(np.argmin(np.round(hidden, 3)))
        taken = np.concatenate([taken, boxes[best][None]])
        text.set_position(tuple(offsets[best] / scale))


def _sum_overlaps(box: Array, others: Array) -> float:
    """Add up the areas that a box, (2, 2), shares with others, (N, 2, 2)."""
    sides = np.minimum(box[1], others[:, 1]) - np.maximum(box[0], others[:, 0])
    return float(sides.clip(0).prod(axis=1).sum())
