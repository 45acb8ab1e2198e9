"""Heat maps of effective receptive fields."""

from typing import TYPE_CHECKING, Sequence

from .line_styles import LINES, legend_below
from .receptive_field import Field, field_centre

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def draw_receptive_fields(fields: Sequence[Field]) -> 'Figure':
    """Heat maps, one panel a field: rows are networks, columns input sizes."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((f.run, f.network) for f in fields))
    columns = list(dict.fromkeys(f.size for f in fields))
    figure = Figure(
        figsize=(3.2 * len(columns) + 1.2, 3.4 * len(rows) + 0.4),
        layout='constrained',
    )
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for field in fields:
        axes = grid[
            rows.index((field.run, field.network)), columns.index(field.size)
        ]
        picture = _draw_field(axes, field)
    figure.colorbar(
        picture,
        ax=grid,
        shrink=min(1, 1.6 / len(rows)),
        aspect=30,
        label='contribution, relative to the largest',
    )
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def _draw_field(axes: 'Axes', field: Field) -> 'AxesImage':
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    picture = axes.imshow(
        field.contribution / field.contribution.max(),
        norm=LogNorm(1e-3, 1, clip=True),
        cmap='magma_r',
    )
    y, x = field_centre(field.contribution)
    for (share, side), line in zip(field.sides.items(), LINES):
        axes.add_patch(
            Rectangle(
                (x - side / 2, y - side / 2),
                side,
                side,
                fill=False,
                edgecolor='#0072B2',
                linestyle=line,
                linewidth=1.5,
                label=f'{share:.0%} of the contribution',
            )
        )
    axes.set_title(
        f'{field.run}: {field.network}, {field.size} px\nsides: '
        + ' / '.join(map(str, field.sides.values()))
        + ' px',
        fontsize='medium',
    )
    axes.set_xlabel('x (px)')
    axes.set_ylabel('y (px)')
    return picture
