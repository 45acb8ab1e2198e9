"""Pictures of scores against what training costs (Fig. 9)."""

from typing import TYPE_CHECKING, Tuple

from .cost import Results
from .line_styles import choose_line_style, place_legend_below
from .metric_names import label_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_costs(results: Results) -> 'Figure':
    """Draw scores against epochs and against training FLOPs.

    Against iterations instead of epochs, if a run counts no epochs.

    Example:
        >>> log = read_training_log(work_dir)
        >>> run = measure_training_cost(log, size=(16, 16))
        >>> draw_costs({'ST': run}).savefig(folder / 'cost.png')
    """
    from matplotlib.figure import Figure

    metric = next(iter(results.values())).metric
    by_epoch = all(run.epochs for run in results.values())
    unit, prefix = _choose_unit(max(run.flops for run in results.values()))
    figure = Figure(figsize=(9, 4.4), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    for k, (name, run) in enumerate(results.items()):
        steps = run.epochs if by_epoch else run.iterations_there
        there = [flops / unit for flops in run.flops_there]
        for axis, cost in zip(axes, (steps, there)):
            # Of many validations not all get a marker.
            axis.plot(
                cost,
                run.scores,
                label=name,
                **choose_line_style(k),
                markevery=1 + len(run.scores) // 25,
            )
    axes[0].set_xlabel('epochs' if by_epoch else 'iterations')
    axes[1].set_xlabel(f'training cost in the backbone ({prefix}FLOPs)')
    axes[0].set_ylabel(label_metric(metric))
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    place_legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure


def _choose_unit(flops: float) -> Tuple[float, str]:
    """Choose the unit in which FLOPs are easy to read, and its prefix."""
    for power, prefix in ((21, 'Z'), (18, 'E'), (15, 'P'), (12, 'T')):
        if flops >= 10**power:
            return 10.0**power, prefix
    return 1e9, 'G'
