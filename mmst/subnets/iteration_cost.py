"""The cost of an iteration with subnets.

Relative to plain training it is ``1 + sum_k f_k``, minus what passes share.
Here f_k is the FLOPs of subnet k divided by those of the main network.
"""

from typing import Dict, Hashable, Optional, Sequence

from torch import Tensor, nn

from .cost import BackboneCost, measure_cost
from .inputs import get_shorter_side, resize_inputs
from .sampler import SubnetSampler
from .shared_prefix import count_shared, list_block_paths, order_passes
from .stages import Stage
from .subnet import Subnet

#: Sizes to measure in a range.
MAX_SIZES = 16
#: Number of subnets to draw where passes share: enough to know the mean cost
#: of an iteration to about 1 %.
NUM_DRAWN = 12000


def count_pass_flops(
    stages: Sequence[Stage],
    subnets: Sequence[Optional[Subnet]],
    inputs: Sequence[Hashable],
    costs: Sequence[BackboneCost],
) -> int:
    """Count the forward FLOPs of passes run by :class:`PassRunner`.

    On one image. Each distinct prefix of blocks counts once.

    Args:
        stages: The stages of the model.
        subnets: The passes, see :meth:`PassRunner.run`.
        inputs: What tells their inputs apart, see there.
        costs: For each pass, the cost of the backbone on its input.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> passes = [None, Subnet.ordered((2, 2, 2, 1), (2, 2, 2, 2))]
        >>> stages, costs = find_stages(model), [cost, cost]
        >>> apart = count_pass_flops(stages, passes, ['a', 'b'], costs)
        >>> apart == cost.total + cost.count(passes[1])
        True
        >>> count_pass_flops(stages, passes, ['a', 'a'], costs) < apart
        True
    """
    passes = [list_block_paths(stages, subnet) for subnet in subnets]
    total = sum(cost.count(subnet) for cost, subnet in zip(costs, subnets))
    for group in order_passes(passes, inputs):
        for before, index in zip(group, group[1:]):
            subnet = subnets[index]
            assert subnet is not None  # the main network is the first
            shared = count_shared(passes[before], passes[index])
            total -= costs[index].count_first(subnet, shared)
    return total


def predict_iteration_cost(
    model: nn.Module,
    image: Tensor,
    sampler: SubnetSampler,
    share: bool = True,
) -> float:
    """Predict the cost of an iteration relative to plain training.

    Args:
        model: A model or a backbone.
        image: One image of the main batch's size, (1, C, H, W).
        sampler: What draws the subnets; fitted to the model.
        share: Whether passes share prefixes, see :class:`PassRunner`.

    Returns:
        float: From the backbone's FLOPs; plain training is 1. If passes
        share, the mean over drawn iterations; if not, over all subnets.

    Example:
        >>> sampler = SubnetSampler(size_range=(0.5, 1.0)).fit(model)
        >>> 1 < predict_iteration_cost(model, images[:1], sampler) < 2
        True
    """
    main = measure_cost(model, image)
    sides = [
        get_shorter_side(image, n) for n in sampler.sizes.spread(MAX_SIZES)
    ]
    costs = {
        side: measure_cost(model, resize_inputs(image, side))
        for side in {*sides}
    }
    if not share or main.is_random or sampler.is_off:
        means = [costs[side].average(sampler.space) for side in sides]
        mean = sum(means) / len(means)
        return 1 + sampler.num_subnets * mean / main.total
    costs[get_shorter_side(image, None)] = main
    return _average_pass_flops(image, sampler, costs) / main.total


def _average_pass_flops(
    image: Tensor, sampler: SubnetSampler, costs: Dict[int, BackboneCost]
) -> float:
    """Average over drawn iterations; a size costs what the nearest does."""
    total, num_iterations = 0, -(-NUM_DRAWN // sampler.num_subnets)
    for number in range(num_iterations):
        drawn = sampler.draw(sampler.begin + number * sampler.every)
        sides = [get_shorter_side(image, subnet.size) for subnet in drawn]
        sides.insert(0, get_shorter_side(image, None))
        nearest = [
            costs[min(costs, key=lambda size: abs(size - side))]
            for side in sides
        ]
        total += count_pass_flops(
            sampler.stages, [None, *drawn], sides, nearest
        )
    return total / num_iterations
