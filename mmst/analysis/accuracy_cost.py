"""Score and cost of each subnet of one trained network, and how to choose.

The numbers are those of a subnet as a separate model, at the images' own size
or at a smaller one. A multiply-add counts as one FLOP.
"""

import time
from itertools import product
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from mmengine.runner import Runner
from torch import nn

from mmst.evaluation import evaluate_subnet, get_validation_loader
from mmst.subnets import (
    SamplingSpace,
    Subnet,
    count_flops,
    export_subnet,
    find_stages,
    measure_cost,
    unwrap_model,
)

from .plots import (
    GREY,
    MARKERS,
    choose_line_styles,
    name_points,
    place_legend_below,
)
from .results import (
    GREATER,
    LESS,
    choose_digits,
    choose_metric,
    format_table,
    show_progress,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# For each cost: its label with the unit, and the factor to that unit.
COSTS = dict(
    flops=('FLOPs of one image (M)', 1e6),
    params=('parameters (M)', 1e6),
    latency=('time for one image (ms)', 1.0),
)


class MeasuredNetwork(NamedTuple):
    """A subnet as a separate model.

    Attributes:
        depths: Number of blocks in each stage.
        score: Value of the metric.
        flops: FLOPs of the whole model on one image.
        params: Number of the whole model's parameters.
        latency: Time of the whole model on one image, in ms.
        size: Shorter side of its images in px; ``None`` for that of the
            training's config.
    """

    depths: Tuple[int, ...]
    score: float
    flops: int
    params: int
    latency: float
    size: Optional[int] = None

    @property
    def name(self) -> str:
        """Depths and, unless it is the config's, the size of images."""
        name = '-'.join(map(str, self.depths))
        return name if self.size is None else f'{name} at {self.size} px'

    def describe(self, metric: str) -> str:
        """Write name, score and costs in one line."""
        return (
            f'{self.name}: {metric} {self.score:.4g}, '
            f'{self.flops / 1e6:,.4g} M FLOPs, '
            f'{self.params / 1e6:,.4g} M parameters, {self.latency:.4g} ms'
        )


def choose_candidates(
    runner: Runner, space: SamplingSpace, max_subnets: int
) -> List[Tuple[int, ...]]:
    """List ordered subnets of a space, the cheapest first.

    At most ``max_subnets``, spread evenly over all in the order of their FLOPs
    on a validation image; the cheapest and the deepest are among them.

    Raises:
        ValueError: If ``max_subnets`` is less than 2.

    Example:
        >>> space = SamplingSpace((3, 3, 3), min_depth=1)
        >>> choose_candidates(runner, space, max_subnets=2)
        [(1, 1, 1), (3, 3, 3)]
    """
    if max_subnets < 2:
        raise ValueError(
            f'max_subnets {max_subnets} (--max-subnets): must be at least 2, '
            'to have subnets to compare'
        )
    cost = measure_cost(runner.model, load_first_image(runner)['inputs'])
    subnets = sorted(
        product(*space.depths),
        key=lambda depths: cost.count(
            Subnet.ordered(depths, space.num_blocks)
        ),
    )
    number = min(len(subnets), max_subnets)
    places = np.linspace(0, len(subnets) - 1, number).round().astype(int)
    return [subnets[place] for place in places]


def measure_family(
    runner: Runner,
    subnets: Sequence[Sequence[int]],
    metric: Optional[str] = None,
    num_samples: int = 2000,
    seconds: float = 2.0,
) -> Tuple[str, List[MeasuredNetwork]]:
    """Score subnets, and measure what they cost once exported.

    Args:
        runner: A runner with the trained weights, validation and a training
            data loader.
        subnets: The depths of each subnet. The main network, with its own
            BatchNorm statistics, is always measured.
        metric: The metric to read. Default: the usual one of the task.
        num_samples: Training images to re-estimate BatchNorm statistics from.
        seconds: How long each network is timed.

    Returns:
        The name of the metric, and the networks.

    Raises:
        ValueError: If the config has no validation or not that metric, or a
            subnet does not fit the model.

    Example:
        >>> _, networks = measure_family(runner, [(1, 2, 1)], seconds=0)
        >>> [network.depths for network in networks]
        [(1, 2, 1), (3, 3, 3)]
    """
    data, networks = load_first_image(runner), []
    model = unwrap_model(runner.model)
    blocks = tuple(map(len, find_stages(model)))
    for depths in subnets:
        Subnet.ordered(depths, blocks)  # fail now, not after an hour
    family = list(dict.fromkeys([*map(tuple, subnets), blocks]))
    for depths in show_progress(family, 'networks'):
        metrics = evaluate_subnet(
            runner, None if depths == blocks else depths, num_samples
        )
        metric = choose_metric(metrics, metric)
        costs = measure_model(export_subnet(model, depths), data, seconds)
        networks.append(
            MeasuredNetwork(depths, float(metrics[metric]), *costs)
        )
    assert metric is not None  # the main network was measured
    return metric, networks


def load_first_image(runner: Runner) -> Dict[str, Any]:
    """Load the first validation image, preprocessed.

    Raises:
        ValueError: If there is none.

    Example:
        >>> load_first_image(runner)['inputs'].shape
        torch.Size([1, 3, 16, 16])
    """
    data = next(iter(get_validation_loader(runner)))
    first = {key: value[:1] for key, value in data.items()}
    return unwrap_model(runner.model).data_preprocessor(first, False)


@torch.no_grad()
def measure_model(
    model: nn.Module, data: Dict[str, Any], seconds: float
) -> Tuple[int, int, float]:
    """Measure FLOPs, parameters, and time in ms on a preprocessed batch.

    The time is the shortest of so many seconds, three runs at least: other
    load on the machine can only add to it. The model is one of MMEngine's
    kind, and put in evaluation mode.

    Example:
        >>> flops, params, latency = measure_model(
        ...     model, load_first_image(runner), seconds=0)
        >>> flops > params > 0
        True
    """
    model.eval()
    on_gpu = data['inputs'].is_cuda
    times: List[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        model._run_forward(data, mode='tensor')
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    # Afterwards: it slows down what it counts.
    with count_flops() as flops:
        model._run_forward(data, mode='tensor')
    params = sum(parameter.numel() for parameter in model.parameters())
    return flops(), params, 1e3 * min(times)


def pick_network(
    networks: Sequence[MeasuredNetwork],
    min_score: Optional[float] = None,
    max_flops: Optional[float] = None,
    max_params: Optional[float] = None,
    max_latency: Optional[float] = None,
    rule: str = GREATER,
) -> MeasuredNetwork:
    """Pick the cheapest network that is good enough, or the best affordable.

    Args:
        networks: Networks to choose from.
        min_score: Take the one with the fewest FLOPs among those with this
            score or a better one; without it, the one with the best score.
        max_flops: Limit of FLOPs.
        max_params: Limit of parameters.
        max_latency: Limit of the time, in ms.
        rule: Whether the better score is the 'greater' or the 'less'.

    Raises:
        ValueError: If no network meets the limits, naming the nearest.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 100, 10, 1.0)
        >>> main = MeasuredNetwork((2, 2), 92.0, 200, 20, 2.0)
        >>> pick_network([small, main], min_score=89).depths
        (1, 1)
    """
    sign = -1 if rule == LESS else 1
    limits = dict(zip(COSTS, (max_flops, max_params, max_latency)))

    def measure_excess(network: MeasuredNetwork) -> float:
        """Sum how far a network is past each limit, relative to it."""
        past = [
            (getattr(network, cost) - limit, limit)
            for cost, limit in limits.items()
            if limit is not None
        ]
        if min_score is not None:
            past.append((sign * (min_score - network.score), min_score))
        return sum(max(0.0, by / (abs(limit) or 1.0)) for by, limit in past)

    chosen = [n for n in networks if measure_excess(n) == 0]
    if not chosen:
        asked = [
            f'at most {limit / unit:.4g} {label}'
            for limit, (label, unit) in zip(limits.values(), COSTS.values())
            if limit is not None
        ]
        if min_score is not None:
            side = 'most' if rule == LESS else 'least'
            asked.insert(0, f'a score of at {side} {min_score:.4g}')
        nearest = min(networks, key=measure_excess).describe('score')
        raise ValueError(
            f'none of the {len(networks)} evaluated networks has '
            f'{" and ".join(asked)}. The nearest is {nearest}'
        )
    if min_score is not None:
        return min(chosen, key=lambda n: (n.flops, -sign * n.score))
    return max(chosen, key=lambda n: (sign * n.score, -n.flops))


def find_best_at_their_cost(
    networks: Sequence[MeasuredNetwork], cost: str, rule: str = GREATER
) -> List[MeasuredNetwork]:
    """Find the Pareto-optimal networks, the cheapest first.

    Cost is a field of :class:`MeasuredNetwork`; the rule says whether the
    better score is the 'greater' or the 'less'.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 100, 10, 1.0)
        >>> poor = MeasuredNetwork((2, 1), 89.0, 150, 15, 1.5)
        >>> find_best_at_their_cost([poor, small], 'flops') == [small]
        True
    """
    sign = -1 if rule == LESS else 1
    best: List[MeasuredNetwork] = []
    for network in sorted(
        networks, key=lambda n: (getattr(n, cost), -sign * n.score)
    ):
        if not best or sign * (network.score - best[-1].score) > 0:
            best.append(network)
    return best


def format_family_table(
    networks: Sequence[MeasuredNetwork], metric: str, rule: str = GREATER
) -> str:
    """Format a table of the networks, the cheapest first.

    An asterisk marks those that are the best at their FLOPs. The metric is
    named with its unit.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 2_000_000, 30_000, 1.0)
        >>> format_family_table([small], 'top-1 (%)').split()[-6:]
        ['1-1', '90.00', '2.000', '0.030', '1.000', '*']
    """
    digits = choose_digits(network.score for network in networks)
    best = find_best_at_their_cost(networks, 'flops', rule)
    return format_table(
        ['blocks', metric, *(label for label, _ in COSTS.values()), 'best'],
        [
            [
                network.name,
                f'{network.score:.{digits}f}',
                *(
                    f'{getattr(network, cost) / unit:.3f}'
                    for cost, (_, unit) in COSTS.items()
                ),
                '*' if network in best else '',
            ]
            for network in sorted(networks, key=lambda n: n.flops)
        ],
    )


def draw_family(
    networks: Sequence[MeasuredNetwork], metric: str, rule: str = GREATER
) -> 'Figure':
    """Draw the score against each cost.

    The first panel names every network, the others the best at their cost.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 2_000_000, 30_000, 1.0)
        >>> draw_family([small], 'top-1 (%)').savefig(folder / 'family.png')
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout='constrained')
    panels = figure.subplots(
        1, len(COSTS), sharey=True, gridspec_kw=dict(width_ratios=[2, 1, 1])
    )
    fronts = [find_best_at_their_cost(networks, cost, rule) for cost in COSTS]
    sizes = dict.fromkeys(network.size for network in networks)
    main = max(networks, key=lambda n: (n.depths, n.size is None))
    blue = choose_line_styles(['ST++'])['ST++']['color']
    for axes, cost, front in zip(panels, COSTS, fronts):
        for k, size in enumerate(sizes):
            axes.plot(
                *_locate([n for n in networks if n.size == size], cost),
                label='subnets' + (f' at {size} px' if size else ''),
                linestyle='none',
                marker=MARKERS[k % len(MARKERS)],
                color=GREY,
            )
        axes.plot(
            *_locate(front, cost),
            label='best at their cost',
            marker='.',
            color=blue,
        )
        axes.plot(
            *_locate([main], cost),
            label='main network',
            linestyle='none',
            marker='o',
            markersize=12,
            markerfacecolor='none',
            color='black',
        )
        axes.set_xlabel(COSTS[cost][0])
        axes.grid(alpha=0.3)
        axes.margins(x=0.12, y=0.12)
    panels[0].set_ylabel(metric)
    place_legend_below(figure, *panels[0].get_legend_handles_labels())
    for axes, cost, front in zip(panels, COSTS, fronts):
        order = front + [n for n in networks if n not in front]
        named = order if axes is panels[0] else front
        points = list(zip(*_locate(order, cost)))
        name_points(axes, points, [n.name for n in named])
    return figure


def _locate(
    networks: Sequence[MeasuredNetwork], cost: str
) -> Tuple[List[float], List[float]]:
    """List costs, in the unit that they are shown in, and scores."""
    unit = COSTS[cost][1]
    costs = [getattr(network, cost) / unit for network in networks]
    return costs, [network.score for network in networks]
