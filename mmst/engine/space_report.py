"""What a training will draw and what it will cost, told before it begins."""

from typing import Any, Optional

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import Tensor, nn

from mmst.subnets import (
    InputSizes,
    SubnetSampler,
    iteration_cost,
    measure_cost,
    resize_inputs,
    shorter_side,
)


def report_space(
    runner: Runner, sampler: SubnetSampler, data_batch: Any
) -> None:
    """Refuse too small sizes; log what will be drawn, at what cost.

    Args:
        runner: The runner, before its first iteration.
        sampler: What draws its subnets.
        data_batch: The first batch, as it comes from the data loader.

    Raises:
        ValueError: See :func:`check_sizes`.
    """
    image = make_blank_image(data_batch)
    if image is None:
        return
    image = image.to(next(runner.model.parameters()).device)
    check_sizes(runner.model, image, sampler.sizes)
    if is_main_process():
        runner.logger.info(describe_space(runner.model, image, sampler))


def make_blank_image(data_batch: Any) -> Optional[Tensor]:
    """Make an image, (1, C, H, W), of the size that a batch will have.

    Args:
        data_batch: A batch as it comes from the data loader.

    Returns:
        Tensor: ``None`` if the batch does not hold images by themselves.
    """
    inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    if not isinstance(inputs, (Tensor, list, tuple)) or len(inputs) == 0:
        return None
    if not all(isinstance(i, Tensor) and i.ndim == 3 for i in inputs):
        return None
    height, width = (max(image.shape[i] for image in inputs) for i in (1, 2))
    return torch.zeros(1, inputs[0].shape[0], height, width)


def check_sizes(model: nn.Module, image: Tensor, sizes: InputSizes) -> None:
    """Refuse input sizes that leave a backbone nothing to see.

    Args:
        model: The model.
        image: One image of the main batch's size, (1, C, H, W).
        sizes: Where subnets' input sizes are drawn from.

    Raises:
        ValueError: If the smallest is too small.
    """
    side = shorter_side(image, None)
    smallest = min(shorter_side(image, n) for n in sizes.values or (None,))
    try:
        measure_cost(model, resize_inputs(image, smallest))
    except ValueError as error:
        raise ValueError(
            f'subnets of {smallest} px are too small: {error}. Raise the '
            'least size in `size_range` or `sizes` of SubnetSamplerHook, '
            f'now {sizes} (main input: {side} px)'
        ) from error


def describe_space(
    model: nn.Module, image: Tensor, sampler: SubnetSampler
) -> str:
    """Tell the stages, what is drawn of each, and an iteration's cost.

    Args:
        model: The model.
        image: One image of the main batch's size, (1, C, H, W).
        sampler: What draws its subnets.
    """
    stages, space, sizes = sampler.stages, sampler.space, sampler.sizes
    num_subnets = sampler.num_subnets
    cost = measure_cost(model, image)
    ratio = iteration_cost(model, image, space, sizes, num_subnets)
    width = 2 + max(len(stage.name) for stage in stages)
    lines = [
        f'Stimulative training: {num_subnets} subnet(s) an iteration, '
        f'{space.strategy} sampling',
        f'{"stage":<{width}}{"blocks":>8}{"FLOPs":>9}  depths drawn from',
    ]
    for stage, flops, depths in zip(stages, cost.blocks, space.depths):
        drawn = (
            'branch or shortcut of each block'
            if space.strategy == 'raw'
            else ', '.join(map(str, depths))
        )
        lines.append(
            f'{stage.name:<{width}}{len(stage):>8}'
            f'{sum(flops) / cost.total:>9.1%}  {drawn}'
        )
    lines += [
        f'input sizes drawn from: {sizes} (main input: '
        f'{shorter_side(image, None)} px, '
        f'{cost.total / 1e9:.3g} GFLOPs in the backbone)',
        f'predicted cost of an iteration: {ratio:.2f} times plain training',
    ]
    if sampler.every > 1:
        mean = 1 + (ratio - 1) / sampler.every
        lines.append(
            f'subnets in one of {sampler.every} iterations: '
            f'{mean:.2f} times on average'
        )
    return '\n'.join(lines)
