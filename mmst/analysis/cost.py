"""Training cost and the scores it reaches (Fig. 9, Table 5)."""

from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence

from mmst.engine.loops import explain_apart
from mmst.launch.configured_training import (
    build_backbone,
    make_training_image,
    read_sampler,
)
from mmst.subnets import measure_cost, predict_iteration_cost

from .plots import choose_line_styles, place_legend_below
from .results import (
    GREATER,
    LESS,
    choose_digits,
    choose_metric,
    choose_rule,
    format_table,
    label_metric,
)
from .training_log import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A backward pass costs about twice its forward pass.
PASSES = 3
# Entries of a validation line that are not metrics.
NO_METRICS = ('time', 'data_time', 'step')


class TrainingCost(NamedTuple):
    """Cost of one run, and its scores during training.

    Attributes:
        metric: Name of the scores' metric in the log.
        num_subnets: K, 0 for plain training.
        iteration_ratio: FLOPs of an iteration with subnets relative to one of
            plain training.
        iterations: Iterations so far.
        flops: FLOPs of all iterations, forward and backward, in the backbone;
            a multiply-add counts as one.
        epochs: Epochs at each validation; None if the run counts none.
        flops_there: FLOPs at each validation.
        iterations_there: Iterations at each validation.
        scores: Score at each validation.
        rule: Whether the better score is the 'greater' or the 'less'.
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
    rule: str = GREATER


def measure_training_cost(
    log: TrainingLog,
    metric: Optional[str] = None,
    size: Optional[Sequence[int]] = None,
    rule: Optional[str] = None,
) -> TrainingCost:
    """Measure cost and scores of a run.

    Args:
        log: The run's log.
        metric: The metric to read; default: the usual one of the task.
        size: (H, W) of training images; default: read from the config's
            pipeline.
        rule: Whether the better score is the 'greater' or the 'less';
            default: as the config or the metric's name says.

    Raises:
        ValueError: If the run was never validated, the log lacks the metric,
            or the image size is not known.

    Example:
        >>> log = read_training_log(work_dir)
        >>> run = measure_training_cost(log, size=(16, 16))
        >>> run.metric, run.epochs
        ('accuracy/top1', [1.0])
    """
    if not log.metrics:
        raise ValueError(
            'the log has no validation scores to compare with the cost'
        )
    names = dict.fromkeys(n for line in log.metrics.values() for n in line)
    for name in NO_METRICS:
        names.pop(name, None)
    metric = choose_metric(names, metric)
    backbone = build_backbone(log.config)
    image = make_training_image(log.config, size)
    sampler = read_sampler(log.config, backbone, log.epoch_length)
    ratio = 1.0
    if sampler is not None:
        share = explain_apart(**log.config.train_cfg) is None
        ratio = predict_iteration_cost(backbone, image, sampler, share)
    num_images = log.config.train_dataloader.batch_size * log.num_processes
    plain = PASSES * measure_cost(backbone, image).total * num_images

    def count_flops(iterations: int) -> float:
        with_subnets = sampler.count_iterations(iterations) if sampler else 0
        return plain * (iterations - with_subnets + ratio * with_subnets)

    there = [step for step, line in log.metrics.items() if metric in line]
    return TrainingCost(
        metric,
        sampler.num_subnets if sampler else 0,
        ratio,
        log.iterations,
        count_flops(log.iterations),
        [n / log.epoch_length for n in there] if log.epoch_length else None,
        [count_flops(step) for step in there],
        there,
        [float(log.metrics[step][metric]) for step in there],
        choose_rule(metric, log.config, rule),
    )


def format_cost_table(results: Dict[str, TrainingCost]) -> str:
    """Format a row for each run: its cost, its last score and its best.

    Example:
        >>> log = read_training_log(work_dir)
        >>> run = measure_training_cost(log, size=(16, 16))
        >>> format_cost_table({'ST': run}).split()[:3]
        ['epochs', 'iterations', 'K']
    """
    (reference, first), *_ = results.items()
    digits = choose_digits(max(run.scores) for run in results.values())
    head = ['', 'epochs', 'iterations', 'K', 'cost of an iteration']
    head += ['training FLOPs', f'of {reference}']
    head += [f'last {label_metric(first.metric, first.rule)}', 'best']
    best = min if first.rule == LESS else max
    return format_table(
        head,
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
                f'{best(run.scores):.{digits}f}',
            ]
            for name, run in results.items()
        ],
    )


def draw_costs(results: Dict[str, TrainingCost]) -> 'Figure':
    """Draw scores against epochs and against training FLOPs.

    Against iterations instead of epochs, if a run counts no epochs.

    Example:
        >>> log = read_training_log(work_dir)
        >>> run = measure_training_cost(log, size=(16, 16))
        >>> draw_costs({'ST': run}).savefig(folder / 'cost.png')
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    first = next(iter(results.values()))
    by_epoch = all(run.epochs for run in results.values())
    figure = Figure(figsize=(9, 4.4), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    styles = choose_line_styles(results)
    for name, run in results.items():
        steps = run.epochs if by_epoch else run.iterations_there
        for axes, cost in ((left, steps), (right, run.flops_there)):
            axes.plot(
                cost,
                run.scores,
                label=name,
                **styles[name],
                # Mark at most about 25 points.
                markevery=1 + len(run.scores) // 25,
            )
    left.set_xlabel('epochs' if by_epoch else 'iterations')
    left.set_ylabel(label_metric(first.metric, first.rule))
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel('training cost in the backbone (FLOPs)')
    right.xaxis.set_major_formatter(EngFormatter())
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    place_legend_below(figure, *left.get_legend_handles_labels())
    return figure
