"""What training costs and what it brings (Fig. 9, Table 5)."""

from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence, Tuple

from mmst.launch.configured_training import (
    build_backbone,
    make_training_image,
    read_sampler,
)
from mmst.subnets import iteration_cost, measure_cost

from .line_styles import legend_below, line_style
from .metric_names import choose_metric, metric_label
from .results import score_digits, text_table
from .training_log import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A backward pass costs about twice its forward pass.
PASSES = 3
# What a line of validation holds besides metrics.
NO_METRICS = ('time', 'data_time', 'step')


class TrainingCost(NamedTuple):
    """One run: its cost, and its scores on the way.

    Attributes:
        metric: What the scores are, by its name in the log.
        num_subnets: K, 0 for plain training.
        iteration_ratio: FLOPs of an iteration with subnets relative to one of
            plain training.
        iterations: Iterations so far.
        flops: Of all of them, forward and backward, in the backbone; a
            multiply-add counts one.
        epochs: Epochs at each validation; None if the run counts none.
        flops_there: FLOPs at each validation.
        iterations_there: Iterations at each validation.
        scores: Score at each validation.
    """

    metric: str
    num_subnets: int
    iteration_ratio: float
    iterations: int
    flops: float
    epochs: Optional[Sequence[float]]
    flops_there: Sequence[float]
    iterations_there: Sequence[int]
    scores: Sequence[float]


# For each run by its name.
Results = Dict[str, TrainingCost]


def training_cost(
    log: TrainingLog,
    metric: Optional[str] = None,
    size: Optional[Sequence[int]] = None,
) -> TrainingCost:
    """Cost and scores of a run.

    Args:
        log: The run's log.
        metric: The metric to read; default: the usual one of the task.
        size: (H, W) of training images; default: what the config's pipeline
            tells.

    Raises:
        ValueError: If the run was never validated, the log lacks the metric,
            or the image size is not known.
    """
    metric = _metric_of(log, metric)
    backbone = build_backbone(log.config)
    image = make_training_image(log.config, size)
    sampler = read_sampler(log.config, backbone, log.epoch_length or 1)
    ratio = 1.0
    if sampler is not None:
        ratio = iteration_cost(
            backbone, image, sampler.space, sampler.sizes, sampler.num_subnets
        )
    plain = (
        PASSES
        * measure_cost(backbone, image).total
        * log.config.train_dataloader.batch_size
        * log.num_processes
    )

    def flops(iterations: int) -> float:
        with_subnets = sampler.count_iterations(iterations) if sampler else 0
        return plain * (iterations - with_subnets + ratio * with_subnets)

    there = [step for step, line in log.metrics.items() if metric in line]
    return TrainingCost(
        metric,
        sampler.num_subnets if sampler else 0,
        ratio,
        log.iterations,
        flops(log.iterations),
        [n / log.epoch_length for n in there] if log.epoch_length else None,
        [flops(step) for step in there],
        there,
        [float(log.metrics[step][metric]) for step in there],
    )


def _metric_of(log: TrainingLog, metric: Optional[str]) -> str:
    """The metric of a run's validations to read."""
    if not log.metrics:
        raise ValueError(
            'the log has no validation: there is no score to '
            'set against the cost'
        )
    return choose_metric(
        {
            name: value
            for line in log.metrics.values()
            for name, value in line.items()
            if name not in NO_METRICS
        },
        metric,
    )


def cost_table(results: Results) -> str:
    """A row for each run: what it cost, its last score and its best."""
    first = next(iter(results.values()))
    digits = score_digits(max(max(run.scores) for run in results.values()))
    return text_table(
        [
            '',
            'epochs',
            'iterations',
            'K',
            'cost of an iteration',
            'training FLOPs',
            f'of {next(iter(results))}',
            f'last {metric_label(first.metric)}',
            'best',
        ],
        [
            [
                name,
                f'{run.epochs[-1]:g}' if run.epochs else '-',
                str(run.iterations),
                str(run.num_subnets),
                f'{run.iteration_ratio:.2f}',
                f'{run.flops:.3g}',
                f'{run.flops / first.flops:.2f}',
                f'{run.scores[-1]:.{digits}f}',
                f'{max(run.scores):.{digits}f}',
            ]
            for name, run in results.items()
        ],
    )


def draw_costs(results: Results) -> 'Figure':
    """Draw scores against epochs and against training FLOPs.

    Against iterations instead of epochs, if a run counts no epochs.
    """
    from matplotlib.figure import Figure

    metric = next(iter(results.values())).metric
    by_epoch = all(run.epochs for run in results.values())
    unit, prefix = _unit(max(run.flops for run in results.values()))
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
                **line_style(k),
                markevery=1 + len(run.scores) // 25,
            )
    axes[0].set_xlabel('epochs' if by_epoch else 'iterations')
    axes[1].set_xlabel(f'training cost in the backbone ({prefix}FLOPs)')
    axes[0].set_ylabel(metric_label(metric))
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure


def _unit(flops: float) -> Tuple[float, str]:
    """The unit in which a number of FLOPs is easily read, and its prefix."""
    for power, prefix in ((21, 'Z'), (18, 'E'), (15, 'P'), (12, 'T')):
        if flops >= 10**power:
            return 10.0**power, prefix
    return 1e9, 'G'
