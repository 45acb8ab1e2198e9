"""Score and cost of each subnet of one trained network."""

import time
from itertools import product
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

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

from .metric_names import choose_metric
from .results import choose_digits, format_table

# For each cost: its label with the unit, and the factor to that unit.
COSTS = dict(
    flops=('multiply-adds of one image (M)', 1e6),
    params=('parameters (M)', 1e6),
    latency=('time for one image (ms)', 1.0),
)


class MeasuredNetwork(NamedTuple):
    """A subnet as a separate model.

    Attributes:
        depths: Number of blocks in each stage.
        score: Its metric.
        flops: Multiply-adds of the whole model on one image.
        params: Number of the whole model's parameters.
        latency: Time of the whole model on one image, in ms.
    """

    depths: Tuple[int, ...]
    score: float
    flops: int
    params: int
    latency: float


def choose_candidates(
    runner: Runner, space: SamplingSpace, max_subnets: int
) -> List[Tuple[int, ...]]:
    """List ordered subnets of a space, the cheapest first.

    Args:
        runner: A runner with a model and validation images.
        space: The depths to choose from.
        max_subnets: If there are more, this many are taken, spread evenly over
            all of them in the order of their FLOPs; the cheapest and the
            deepest among them.

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
    if len(subnets) <= max_subnets:
        return subnets
    step = (len(subnets) - 1) / (max_subnets - 1)
    return [subnets[round(i * step)] for i in range(max_subnets)]


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
        subnets: The depths of each. The main network, with its own
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
    blocks = tuple(len(stage) for stage in find_stages(model))
    family = _list_family(subnets, blocks)
    for number, depths in enumerate(family, 1):
        runner.logger.info(f'Network {number} of {len(family)}: {depths}')
        metrics = evaluate_subnet(
            runner, None if depths == blocks else depths, num_samples
        )
        metric = choose_metric(metrics, metric)
        small = export_subnet(model, depths)
        networks.append(
            MeasuredNetwork(
                depths,
                float(metrics[metric]),
                *measure_model(small, data, seconds),
            )
        )
    assert metric is not None  # the main network was measured
    return metric, networks


def _list_family(
    subnets: Sequence[Sequence[int]], blocks: Tuple[int, ...]
) -> List[Tuple[int, ...]]:
    """List each subnet once, and the main network."""
    for depths in subnets:
        Subnet.ordered(depths, blocks)  # fail now, not after an hour
    return list(dict.fromkeys([*map(tuple, subnets), blocks]))


def load_first_image(runner: Runner) -> Dict[str, Any]:
    """Load the first validation image, preprocessed.

    Raises:
        ValueError: If there is none.

    Example:
        >>> load_first_image(runner)['inputs'].shape
        torch.Size([1, 3, 16, 16])
    """
    data = next(iter(get_validation_loader(runner)))
    model = unwrap_model(runner.model)
    first = {key: value[:1] for key, value in data.items()}
    return model.data_preprocessor(first, False)


@torch.no_grad()
def measure_model(
    model: nn.Module, data: Dict[str, Any], seconds: float
) -> Tuple[int, int, float]:
    """Measure multiply-adds, parameters, and time in ms on a batch.

    The time is the shortest of many: other load on the machine can only
    add to it.

    Args:
        model: A model of MMEngine's kind; put in evaluation mode.
        data: The batch, preprocessed.
        seconds: How long it is timed; at least three runs.

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
    return (
        flops(),
        sum(parameter.numel() for parameter in model.parameters()),
        1e3 * min(times),
    )


def pick_network(
    networks: Sequence[MeasuredNetwork],
    min_score: Optional[float] = None,
    max_flops: Optional[float] = None,
) -> MeasuredNetwork:
    """Pick the cheapest network that is good enough, or the best affordable.

    Args:
        networks: To choose from.
        min_score: Take the one with the fewest FLOPs among those with this
            score at least.
        max_flops: Take none with more FLOPs than this; without ``min_score``
            the one with the best score.

    Raises:
        ValueError: If no network meets the limits.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 100, 10, 1.0)
        >>> main = MeasuredNetwork((2, 2), 92.0, 200, 20, 2.0)
        >>> pick_network([small, main], min_score=89).depths
        (1, 1)
    """
    chosen = [
        network
        for network in networks
        if (min_score is None or network.score >= min_score)
        and (max_flops is None or network.flops <= max_flops)
    ]
    if not chosen:
        scores, flops = zip(*((n.score, n.flops) for n in networks))
        raise ValueError(
            f'none of the {len(networks)} evaluated subnets has a score of at '
            f'least {min_score} and at most {max_flops} FLOPs (None: any): '
            f'scores range from {min(scores):.4g} to {max(scores):.4g}, FLOPs '
            f'from {min(flops):.4g} to {max(flops):.4g}'
        )
    if min_score is not None:
        return min(chosen, key=lambda n: (n.flops, -n.score))
    return max(chosen, key=lambda n: (n.score, -n.flops))


def find_best_at_their_cost(
    networks: Sequence[MeasuredNetwork], cost: str
) -> List[MeasuredNetwork]:
    """Find the Pareto-optimal networks, the cheapest first.

    Args:
        networks: To choose from.
        cost: A field of :class:`MeasuredNetwork`.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 100, 10, 1.0)
        >>> poor = MeasuredNetwork((2, 1), 89.0, 150, 15, 1.5)
        >>> find_best_at_their_cost([poor, small], 'flops') == [small]
        True
    """
    best: List[MeasuredNetwork] = []
    for network in sorted(
        networks, key=lambda n: (getattr(n, cost), -n.score)
    ):
        if not best or network.score > best[-1].score:
            best.append(network)
    return best


def format_family_table(
    networks: Sequence[MeasuredNetwork], metric: str
) -> str:
    """Format a table of the networks, the cheapest first.

    Args:
        networks: The networks.
        metric: What the scores are, with the unit.

    Example:
        >>> small = MeasuredNetwork((1, 1), 90.0, 2_000_000, 30_000, 1.0)
        >>> format_family_table([small], 'top-1 (%)').split()[-5:]
        ['1-1', '90.00', '2.000', '0.030', '1.000']
    """
    digits = choose_digits(max(network.score for network in networks))
    rows = [
        [
            '-'.join(map(str, network.depths)),
            f'{network.score:.{digits}f}',
            *(
                f'{getattr(network, cost) / unit:.3f}'
                for cost, (_, unit) in COSTS.items()
            ),
        ]
        for network in sorted(networks, key=lambda n: n.flops)
    ]
    return format_table(
        ['blocks', metric, *(title for title, _ in COSTS.values())], rows
    )
