"""Lines and legends that colour-blind readers can tell apart."""

import textwrap
from math import ceil
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of Okabe and Ito.
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
MARKERS = 'os^DvP*X<>'
LINES = ('-', '--', '-.', ':')


def choose_line_style(index: int) -> Dict[str, Any]:
    """Choose colour, marker and line of the index-th series of a picture.

    Ten markers and eight colours are combined so that the first forty series
    all look different. The first ten have different markers, for pictures
    printed in grey.

    Args:
        index: From 0.
    """
    return dict(
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index // 5 % len(LINES)],
        # The light colours need an edge to be seen on white.
        markeredgecolor='#333333',
        markeredgewidth=0.5,
    )


def place_legend_below(
    figure: 'Figure', handles: List[Any], labels: List[str]
) -> None:
    """Put the legend under the axes, where it hides no data.

    The figure grows by the legend's height, so that axes keep their size.

    Args:
        figure: A figure with the layout 'constrained' or 'compressed'.
        handles: What was drawn.
        labels: Their names; long ones are written on several lines.
    """
    # As few rows as the figure's width allows.
    for rows in range(1, len(labels) + 1):
        legend = figure.legend(
            handles,
            list(map(wrap_name, labels)),
            loc='outside lower center',
            ncols=ceil(len(labels) / rows),
            frameon=False,
        )
        extent = legend.get_window_extent()
        if rows == len(labels) or extent.width < 0.97 * figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


def wrap_name(name: str, width: int = 40) -> str:
    """Wrap a name to several lines if necessary.

    Args:
        name: Name of a run or a network.
        width: Maximum number of characters per line.
    """
    return textwrap.fill(name, width)
