"""Pictures of networks' numbers of blocks (Fig. 7)."""

from typing import TYPE_CHECKING, Dict

from .line_styles import COLORS, place_legend_below
from .stage_layout import Layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_layouts(layouts: Dict[str, Layout]) -> 'Figure':
    """Draw a bar for each stage of each network.

    Args:
        layouts: By the networks' names.

    Example:
        >>> layout = measure_stage_layout(model, torch.zeros(1, 3, 16, 16))
        >>> draw_layouts({'ResNet-20': layout}).savefig(folder / 'layout.png')
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    num_stages = max(len(layout.blocks) for layout in layouts.values())
    width = 0.85 / len(layouts)
    figure = Figure(
        figsize=(max(6.4, 0.3 * num_stages * len(layouts)), 4.4),
        layout='constrained',
    )
    axes = figure.subplots()
    for k, (name, layout) in enumerate(layouts.items()):
        counts = list(layout.blocks.values())
        bars = axes.bar(
            [
                stage + width * (k - (len(layouts) - 1) / 2)
                for stage in range(1, len(counts) + 1)
            ],
            counts,
            width,
            label=name,
            color=COLORS[k % len(COLORS)],
            # Beyond the colours there are, and for pictures in grey.
            hatch=('', '//', '..', 'xx', '\\\\')[k % 5],
            edgecolor='white',
        )
        axes.bar_label(bars, fontsize='small')
    axes.set_xticks(range(1, num_stages + 1))
    axes.set_xlabel('stage')
    axes.set_ylabel('number of residual blocks')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.1)
    place_legend_below(figure, *axes.get_legend_handles_labels())
    return figure
