"""What an iteration with subnets costs.

Relative to plain training it is ``1 + sum_k f_k``, where f_k is the subnet's
share of the main network's FLOPs, and less by what passes share.
"""

from typing import Dict, Hashable, Optional, Sequence

from torch import Tensor, nn

from .cost import BackboneCost, measure_cost
from .inputs import resize_inputs, shorter_side
from .sampler import SubnetSampler
from .shared_prefix import block_paths, num_shared, order_passes
from .stages import Stage
from .subnet import Subnet

#: Subnets to draw where passes share: what an average iteration costs is then
#: known to about one part in a hundred.
NUM_DRAWN = 12000


def count_pass_flops(
    stages: Sequence[Stage],
    subnets: Sequence[Optional[Subnet]],
    inputs: Sequence[Hashable],
    costs: Sequence[BackboneCost],
) -> int:
    """Count the FLOPs of passes by :class:`PassRunner`, forward, on one image.

    Each distinct prefix of blocks counts once.

    Args:
        stages: The stages of the model.
        subnets: The passes, see :meth:`PassRunner.run`.
        inputs: What tells their inputs apart, see there.
        costs: For each pass, those of the backbone on its input.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> passes = [None, Subnet.ordered((2, 2, 2, 1), (2, 2, 2, 2))]
        >>> stages, costs = find_stages(model), [cost, cost]
        >>> apart = count_pass_flops(stages, passes, ['a', 'b'], costs)
        >>> apart == cost.total + cost.of(passes[1])
        True
        >>> count_pass_flops(stages, passes, ['a', 'a'], costs) < apart
        True
    """
    passes = [block_paths(stages, subnet) for subnet in subnets]
    total = sum(cost.of(subnet) for cost, subnet in zip(costs, subnets))
    for group in order_passes(passes, inputs):
        for before, index in zip(group, group[1:]):
            subnet = subnets[index]
            assert subnet is not None  # the main network is the first
            shared = num_shared(passes[before], passes[index])
            total -= costs[index].of_first(subnet, shared)
    return total


def iteration_cost(
    model: nn.Module,
    image: Tensor,
    sampler: SubnetSampler,
    share: bool = True,
    most: int = 16,
) -> float:
    """Predict the cost of an iteration with subnets, plain training's being 1.

    Args:
        model: A model or a backbone.
        image: One image of the main batch's size, (1, C, H, W).
        sampler: What draws the subnets; fitted to the model.
        share: Whether passes share what they have in common, see
            :class:`PassRunner`.
        most: Number of sizes that are measured of a whole range.

    Returns:
        float: From the backbone's FLOPs. If passes share, the mean over
        drawn iterations; if not, over all subnets.

    Example:
        >>> sampler = SubnetSampler(size_range=(0.5, 1.0)).fit(model)
        >>> 1 < iteration_cost(model, images[:1], sampler) < 2
        True
    """
    main = measure_cost(model, image)
    sides = [shorter_side(image, n) for n in sampler.sizes.spread(most)]
    costs = {
        side: measure_cost(model, resize_inputs(image, side))
        for side in {*sides}
    }
    if not share or main.is_random or sampler.is_off:
        means = [costs[side].mean(sampler.space) for side in sides]
        mean = sum(means) / len(means)
        return 1 + sampler.num_subnets * mean / main.total
    costs[shorter_side(image, None)] = main
    return _mean_pass_flops(image, sampler, costs) / main.total


def _mean_pass_flops(
    image: Tensor, sampler: SubnetSampler, costs: Dict[int, BackboneCost]
) -> float:
    """Average over drawn iterations; ``costs`` are those of some sizes."""
    total, num_iterations = 0, -(-NUM_DRAWN // sampler.num_subnets)
    for number in range(num_iterations):
        drawn = sampler.draw(sampler.begin + number * sampler.every)
        sides = [shorter_side(image, subnet.size) for subnet in drawn]
        sides.insert(0, shorter_side(image, None))
        nearest = [
            costs[min(costs, key=lambda size: abs(size - side))]
            for side in sides
        ]
        total += count_pass_flops(
            sampler.stages, [None, *drawn], sides, nearest
        )
    return total / num_iterations
