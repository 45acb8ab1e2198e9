"""The cost of an iteration with subnets.

Relative to plain training it is ``1 + sum_k f_k``, minus what passes share.
Here f_k is the FLOPs of subnet k divided by those of the main network.
"""

from typing import Hashable, Optional, Sequence

from torch import Tensor, nn

from .cost import BackboneCost, measure_cost
from .inputs import get_shorter_side, resize_inputs
from .sampling import SubnetSampler
from .shared_prefix import order_passes
from .stages import Stage
from .subnet import Subnet

#: Maximum number of input sizes to measure; others cost what the nearest does.
MAX_SIZES = 16
#: Number of subnets to draw: enough to know the mean cost of an iteration to
#: about 1 %.
NUM_DRAWN = 2000


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
        subnets: The passes, see :meth:`PassRunner.plan`.
        inputs: A key of each pass's input, see there.
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
    total = sum(cost.count(subnet) for cost, subnet in zip(costs, subnets))
    for group in order_passes(stages, subnets, inputs):
        for (_, num_shared), (index, _) in zip(group, group[1:]):
            subnet = subnets[index]
            assert subnet is not None  # the main network is the first
            total -= costs[index].count_first(subnet, num_shared or 0)
    return total


def predict_iteration_cost(
    model: nn.Module,
    image: Tensor,
    sampler: SubnetSampler,
    share: bool = True,
) -> float:
    """Predict the cost of an iteration relative to plain training.

    The mean over drawn iterations, about 2,000 subnets in all.

    Args:
        model: A model or a backbone.
        image: One image of the main batch's size, (1, C, H, W).
        sampler: The sampler that draws the subnets; fitted to the model.
        share: Whether passes share prefixes, see :class:`PassRunner`.

    Returns:
        float: From the backbone's FLOPs; plain training is 1.

    Example:
        >>> sampler = SubnetSampler(size_range=(0.5, 1.0)).fit(model)
        >>> 1 < predict_iteration_cost(model, images[:1], sampler) < 2
        True
    """
    if sampler.is_off:
        return 1.0
    main_side = get_shorter_side(image, None)
    num_iterations = -(-NUM_DRAWN // sampler.num_subnets)
    drawn = [
        sampler.draw(sampler.begin + number * sampler.every)
        for number in range(num_iterations)
    ]
    sides = sorted(
        get_shorter_side(image, subnet.size) for one in drawn for subnet in one
    )
    step = max(1, len(sides) // MAX_SIZES)
    costs = {
        side: measure_cost(model, resize_inputs(image, side))
        for side in {*sides[step // 2 :: step]} - {main_side}
    }
    costs[main_side] = main = measure_cost(model, image)
    share = share and not main.is_random
    total = 0
    for subnets in drawn:
        inputs = [main_side] + [
            get_shorter_side(image, subnet.size) for subnet in subnets
        ]
        nearest = [
            min(costs, key=lambda size: abs(size - side)) for side in inputs
        ]
        total += count_pass_flops(
            sampler.stages,
            [None, *subnets],
            inputs if share else range(len(inputs)),
            [costs[side] for side in nearest],
        )
    return total / num_iterations / main.total
