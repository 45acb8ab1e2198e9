"""Heat maps of effective receptive fields."""

from typing import TYPE_CHECKING, List, Sequence, Tuple

from .line_styles import COLORS, LINES, place_legend_below, wrap_name
from .receptive_field import (
    SHARES,
    Field,
    find_field_centre,
    measure_square_reach,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Panels a row where all networks saw one input size.
PANELS = 4


def draw_receptive_fields(fields: Sequence[Field]) -> 'Figure':
    """Heat maps, one panel per field.

    Rows are networks and columns input sizes; of a single size, panels follow
    one another.

    Example:
        >>> figure = draw_receptive_fields([Field('ST', 'main', 5, np.eye(5))])
        >>> figure.savefig(folder / 'fields.png')
    """
    from matplotlib.figure import Figure

    cells = _place_panels(fields)
    rows, columns = (1 + max(numbers) for numbers in zip(*cells))
    titles = [_format_title(field) for field in fields]
    lines = 1 + max(title.count('\n') for title in titles)
    side = max(3.4, 5.2 / columns)
    figure = Figure(
        figsize=(side * columns + 1.2, (side + 0.18 * lines) * rows + 0.4),
        # Axes as square as the maps, without gaps between them.
        layout='compressed',
    )
    grid = figure.add_gridspec(rows, columns)
    panels = []
    for field, cell, title in zip(fields, cells, titles):
        panels.append(figure.add_subplot(grid[cell]))
        picture = _draw_field(panels[-1], field)
        panels[-1].set_title(title, fontsize='medium')
    figure.colorbar(
        picture,
        ax=panels,
        shrink=min(1, 1.6 / rows),
        aspect=30,
        label='contribution, relative to the largest',
    )
    place_legend_below(figure, *panels[-1].get_legend_handles_labels())
    return figure


def _place_panels(fields: Sequence[Field]) -> List[Tuple[int, int]]:
    """Assign a row and a column to each field's panel."""
    networks = list(dict.fromkeys((f.run, f.network) for f in fields))
    sizes = list(dict.fromkeys(f.size for f in fields))
    if len(sizes) == 1:
        return [divmod(number, PANELS) for number in range(len(fields))]
    return [
        (networks.index((f.run, f.network)), sizes.index(f.size))
        for f in fields
    ]


def _format_title(field: Field) -> str:
    sides = ' / '.join(map(str, field.sides.values()))
    name = wrap_name(f'{field.run}: {field.network}', 30)
    return f'{name}\n{field.size} px; sides: {sides} px'


def _draw_field(axes: 'Axes', field: Field) -> 'AxesImage':
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    picture = axes.imshow(
        field.contribution / field.contribution.max(),
        norm=LogNorm(1e-3, 1, clip=True),
        cmap='magma_r',
    )
    y, x = find_field_centre(field.contribution)
    for share, line in zip(SHARES, LINES):
        # Half a pixel more, to its border. The axes cut what is outside.
        reach = measure_square_reach(field.contribution, share) + 0.5
        axes.add_patch(
            Rectangle(
                (x - reach, y - reach),
                2 * reach,
                2 * reach,
                fill=False,
                edgecolor=COLORS[1],
                linestyle=line,
                linewidth=1.5,
                # Visible where the map is dark.
                path_effects=[withStroke(linewidth=3.5, foreground='white')],
                label=f'{share:.0%} of the contribution',
            )
        )
    axes.set_xlabel('x (px)')
    axes.set_ylabel('y (px)')
    return picture
