"""Report before training which subnets are drawn and what they cost."""

from copy import deepcopy
from typing import Any, List, Optional

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import Tensor, nn

from mmst.subnets import (
    InputSizes,
    SubnetSampler,
    get_shorter_side,
    measure_cost,
    predict_iteration_cost,
    resize_inputs,
    unwrap_model,
)

from .preserve_training import preserve_training


def report_space(
    runner: Runner, sampler: SubnetSampler, data_batch: Any
) -> None:
    """Refuse sizes that are too small; log the sampling space and its cost.

    Args:
        runner: The runner, before its first iteration.
        sampler: What draws its subnets.
        data_batch: The first batch, as it comes from the data loader.

    Raises:
        ValueError: See :func:`check_sizes`.
    """
    model = unwrap_model(runner.model)
    image = make_blank_image(model, data_batch)
    if image is None or not _can_be_seen(model, image):
        return  # the iteration itself will say why
    check_sizes(model, image, sampler.sizes)
    if is_main_process():
        runner.logger.info(
            describe_space(model, image, sampler, runner.train_loop.why_apart)
        )


def make_blank_image(model: nn.Module, data_batch: Any) -> Optional[Tensor]:
    """Make a blank image, (1, C, H, W), of the size that the model gets.

    Its data preprocessor may pad or resize what the data loader gives.

    Args:
        model: The model, bare.
        data_batch: A batch as it comes from the data loader.

    Returns:
        Tensor: ``None`` if the batch is not one of images, or cannot be
        preprocessed; the iteration will then raise the error.
    """
    with preserve_training(model):
        try:
            data = model.data_preprocessor(deepcopy(data_batch), True)
        except Exception:
            return None
    inputs = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        return None
    return torch.zeros_like(inputs[:1])


def _can_be_seen(model: nn.Module, image: Tensor) -> bool:
    try:
        measure_cost(model, image)
    except ValueError:
        return False
    return True


def check_sizes(model: nn.Module, image: Tensor, sizes: InputSizes) -> None:
    """Refuse input sizes that are too small for the backbone.

    Args:
        model: The model.
        image: One image of the main batch's size, (1, C, H, W).
        sizes: Where subnets' input sizes are drawn from.

    Raises:
        ValueError: If the smallest is too small.
    """
    smallest = min(get_shorter_side(image, n) for n in sizes.values or (None,))
    try:
        measure_cost(model, resize_inputs(image, smallest))
    except ValueError as error:
        raise ValueError(say_too_small(smallest, str(error), sizes)) from error


def say_too_small(side: int, reason: str, sizes: InputSizes) -> str:
    """Describe which size is too small, why, and where it is set."""
    return (
        f'subnets of {side} px are too small: {reason}. Raise the smallest '
        f'size in `size_range` or `sizes` of SubnetSamplerHook, now {sizes}'
    )


def describe_space(
    model: nn.Module,
    image: Tensor,
    sampler: SubnetSampler,
    why_apart: Optional[str] = None,
) -> str:
    """Describe the stages, their candidate depths, and an iteration's cost.

    Args:
        model: The model.
        image: One image of the main batch's size, (1, C, H, W).
        sampler: What draws its subnets.
        why_apart: Why passes do not share prefixes of blocks, if they do not.
    """
    stages, space, sizes = sampler.stages, sampler.space, sampler.sizes
    cost = measure_cost(model, image)
    if cost.is_random:
        why_apart = why_apart or 'the backbone is random even in evaluation'
    width = 2 + max(len(stage.name) for stage in stages)
    lines = [
        f'Stimulative training: {sampler.num_subnets} subnet(s) per '
        f'iteration, {space.strategy} sampling',
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
        f'{get_shorter_side(image, None)} px, '
        f'{cost.total / 1e9:.3g} GFLOPs in the backbone)',
        f'each pass runs by itself: {why_apart}'
        if why_apart
        else 'passes on one input share the blocks that they have in common',
        *_predict(
            predict_iteration_cost(model, image, sampler, share=not why_apart),
            sampler,
        ),
    ]
    return '\n'.join(lines)


def _predict(ratio: float, sampler: SubnetSampler) -> List[str]:
    """Describe the cost of an iteration with subnets, and the average."""
    lines = [
        f'predicted cost of an iteration: {ratio:.2f} times plain training'
    ]
    if sampler.every > 1:
        mean = 1 + (ratio - 1) / sampler.every
        lines.append(
            f'subnets in one of {sampler.every} iterations: '
            f'{mean:.2f} times on average'
        )
    return lines
