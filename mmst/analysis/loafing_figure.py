"""Pictures of scores of main networks and subnets (Figs. 1 and 8)."""

from typing import TYPE_CHECKING, Dict, List

import numpy as np

from .line_styles import place_legend_below
from .score_figure import draw_scores, label_networks
from .scores import MAIN, Scores, sort_networks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_loafing(results: Dict[str, List[Scores]], metric: str) -> 'Figure':
    """Draw the scores of main network and subnets, method by method.

    Args:
        results: For each method, the scores of each of its runs. Of several
            runs the mean is drawn, with its 95 % interval.
        metric: What the scores are and in which unit, for the axis.

    Example:
        >>> scores = {'main': 92.0, '1-1-1': 80.0}
        >>> figure = draw_loafing({'ST': [scores]}, 'accuracy/top1 (%)')
        >>> figure.savefig(folder / 'loafing.png')
    """
    # Imported here, so that numbers work on machines without matplotlib.
    from matplotlib.figure import Figure

    networks = sort_networks(results)
    if MAIN in networks:
        networks = networks[1:] + [MAIN]
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(networks)), 4.8), layout='constrained'
    )
    axes = figure.subplots()
    draw_scores(axes, results, networks)
    label_networks(axes, networks)
    axes.set_xlabel('network: blocks kept in each stage, or the main network')
    axes.set_ylabel(metric)
    means = np.concatenate([bars[0].get_ydata() for bars in axes.containers])
    if not (means > 100).any():
        # Intervals may reach past what a percentage can be.
        axes.set_ylim(top=min(101, axes.get_ylim()[1]))
    place_legend_below(figure, *axes.get_legend_handles_labels())
    return figure
