"""Figures of how well calibrated scores are."""

from typing import TYPE_CHECKING

from .line_styles import place_legend_below
from .score_figure import draw_scores, label_networks
from .score_quality import CALIBRATED, PREDICTED, Results
from .scores import MAIN, sort_networks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_score_quality(results: Results) -> 'Figure':
    """Draw cross-entropy and calibration error of subnets, in two panels.

    Args:
        results: For each run, its scores.

    Example:
        >>> report = measure_scores(runner, 12, subnets=[(1, 2, 1)])
        >>> figure = draw_score_quality({'ST': report})
        >>> figure.savefig(folder / 'score_quality.png')
    """
    from matplotlib.figure import Figure

    panels = [
        {
            f'{run}, {form}': [
                {
                    name: getattr(network, kind)[form]
                    for name, network in report.networks.items()
                }
            ]
            for run, report in results.items()
            for form in (PREDICTED, CALIBRATED)
        }
        for kind in ('cross_entropy', 'calibration_error')
    ]
    networks = [n for n in sort_networks(panels[0]) if n != MAIN] + [MAIN]
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(networks)), 6), layout='constrained'
    )
    axes = figure.subplots(2, 1, sharex=True)
    for axis, panel, name in zip(
        axes, panels, ('cross-entropy (nats)', 'calibration error')
    ):
        draw_scores(axis, panel, networks)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    label_networks(axes[1], networks)
    axes[1].set_xlabel(
        'network: blocks kept in each stage, or the main network'
    )
    place_legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure
