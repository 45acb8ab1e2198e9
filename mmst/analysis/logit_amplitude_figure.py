"""Pictures of logit amplitudes beside scores (Fig. 4)."""

from typing import TYPE_CHECKING

from .line_styles import place_legend_below
from .logit_amplitude import Results
from .metric_names import label_metric
from .score_figure import draw_scores, label_networks
from .scores import MAIN, sort_networks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_amplitudes(results: Results) -> 'Figure':
    """Draw amplitudes above scores: over subnets, or over networks.

    Where only main networks were measured, these are on the axis, as in the
    paper's figure; else each run is a line over its subnets.

    Args:
        results: Of each run.

    Example:
        >>> run = Amplitudes('accuracy/top1', {'main': 92.0}, {'main': 12.5})
        >>> draw_amplitudes({'ST': run}).savefig(folder / 'amplitudes.png')
    """
    from matplotlib.figure import Figure

    metric = next(iter(results.values())).metric
    panels = [
        {name: [getattr(run, kind)] for name, run in results.items()}
        for kind in ('amplitudes', 'scores')
    ]
    networks = sort_networks(panels[0])
    if networks == [MAIN]:
        panels = [
            {
                'main network': [
                    {name: run[MAIN] for name, (run,) in panel.items()}
                ]
            }
            for panel in panels
        ]
        networks, label = list(results), 'network'
    else:
        networks = [n for n in networks if n != MAIN] + [MAIN]
        label = 'network: blocks kept in each stage, or the main network'
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(networks)), 6), layout='constrained'
    )
    axes = figure.subplots(2, 1, sharex=True)
    for axis, panel, name in zip(
        axes, panels, ('mean L2 norm of logits', label_metric(metric))
    ):
        draw_scores(axis, panel, networks)
        axis.set_ylabel(name)
    axes[0].set_ylim(0, 1.03 * axes[0].get_ylim()[1])
    label_networks(axes[1], networks)
    axes[1].set_xlabel(label)
    if len(panels[0]) > 1:
        place_legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure
