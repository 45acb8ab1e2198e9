"""Figures of subnets' scores against their cost."""

from typing import TYPE_CHECKING, Sequence

from .accuracy_cost import COSTS, MeasuredNetwork, find_best_at_their_cost
from .line_styles import choose_line_style, place_legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_family(networks: Sequence[MeasuredNetwork], metric: str) -> 'Figure':
    """Draw the score against each cost.

    Args:
        networks: The networks, the main network among them.
        metric: What the scores are, with the unit.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 2_000_000, 30_000, 1.0)
        >>> draw_family([small], 'top-1 (%)').savefig(folder / 'family.png')
    """
    # Imported here, so that numbers work on machines without matplotlib.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout='constrained')
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (cost, (title, unit)) in zip(panels, COSTS.items()):
        _draw_panel(axes, networks, cost, unit)
        axes.set_xlabel(title)
    panels[0].set_ylabel(metric)
    place_legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def _draw_panel(
    axes: 'Axes', networks: Sequence[MeasuredNetwork], cost: str, unit: float
) -> None:
    main = max(networks, key=lambda n: n.depths)
    best = find_best_at_their_cost(networks, cost)
    alone = dict(linestyle='none')
    large = dict(alone, markersize=11)
    for label, group, style in (
        ('subnets', networks, {**choose_line_style(1), **alone}),
        ('best at their cost', best, choose_line_style(0)),
        ('main network', [main], {**choose_line_style(2), **large}),
    ):
        axes.plot(
            [getattr(n, cost) / unit for n in group],
            [n.score for n in group],
            label=label,
            **style,
        )
    axes.grid(alpha=0.3)
    axes.set_xlim(left=0)
