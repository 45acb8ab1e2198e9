"""Lines and legends that colour-blind readers can tell apart."""

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


def line_style(index: int) -> Dict[str, Any]:
    """Colour, marker and line of the index-th series of a picture.

    Ten markers and eight colours that repeat out of step: no two of the first
    forty series look the same, and of the first ten each has a marker of its
    own, for pictures printed in grey.

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


def legend_below(
    figure: 'Figure', handles: List[Any], labels: List[str]
) -> None:
    """Put the legend under the axes, where it hides no data.

    Args:
        figure: A figure with the layout 'constrained'.
        handles: What was drawn.
        labels: Their names.
    """
    # As many columns as the figure's width has room for, about.
    room = int(figure.get_figwidth() * 13)
    columns = max(1, room // (max(map(len, labels)) + 7))
    figure.legend(
        handles,
        labels,
        loc='outside lower center',
        ncols=min(columns, len(labels)),
        frameon=False,
    )
