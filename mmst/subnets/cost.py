"""What a subnet costs: FLOPs of a backbone, block by block and size by size.

The cost of an ST iteration over a plain one is ``1 + sum_k f_k``, where f_k
is the subnet's share of the main network's FLOPs. The backward pass costs in
proportion to the forward pass, so that counting the forward pass is enough.
"""
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .inputs import resize_inputs
from .space import InputSizes, SamplingSpace
from .stages import Stage, find_backbone, find_stages
from .subnet import Path, Subnet


@dataclass(frozen=True)
class BackboneCost:
    """FLOPs of one forward pass on one image.

    A multiply-add counts one, as is the field's custom: 4.1 G for ResNet-50
    at 224 px (Table 4).

    Attributes:
        total: The whole backbone.
        blocks: Each block of each stage.
    """

    total: int
    blocks: Tuple[Tuple[int, ...], ...]

    def of(self, subnet: Subnet) -> int:
        """FLOPs of a subnet on this input size."""
        return self.total - sum(
            flops for stage, paths in zip(self.blocks, subnet.paths)
            for flops, path in zip(stage, paths) if path is Path.SHORTCUT)

    def mean(self, space: SamplingSpace) -> float:
        """Expected FLOPs of a subnet drawn from a space on this size."""
        skipped = sum(
            flops * (1 - keep)
            for stage, keeps in zip(self.blocks, space.keep_probability())
            for flops, keep in zip(stage, keeps))
        return self.total - skipped


def iteration_cost(model: nn.Module, image: Tensor, space: SamplingSpace,
                   sizes: InputSizes, num_subnets: int,
                   most: int = 16) -> float:
    """Predicted cost of an ST iteration relative to plain training.

    Args:
        model: A model or a backbone.
        image: One image of the main batch's size, (1, C, H, W).
        space: Where the subnets' depths are drawn from.
        sizes: Where their input sizes are drawn from.
        num_subnets: K.
        most: Number of sizes that stand for a whole range.

    Returns:
        float: ``1 + K * mean share``, from the backbone's FLOPs.
    """
    main = measure_cost(model, image).total
    shares = [
        measure_cost(model, resize_inputs(image, size)).mean(space) / main
        for size in sizes.spread(most)
    ]
    return 1 + num_subnets * sum(shares) / len(shares)


def measure_cost(model: nn.Module, image: Tensor) -> BackboneCost:
    """Count the FLOPs of a model's backbone on one image.

    Runs the backbone once without gradient, in evaluation mode, and leaves it
    as it was.

    Args:
        model: A model or a backbone.
        image: (1, C, H, W).

    Raises:
        ValueError: If the image is too small for the backbone.
    """
    backbone, stages = find_backbone(model), find_stages(model)
    counter = FlopCounterMode(display=False)
    blocks: List[List[int]] = [[0] * len(stage) for stage in stages]
    with ExitStack() as stack:
        stack.enter_context(_evaluating(backbone))
        _count_blocks(stack, stages, counter, blocks)
        stack.enter_context(torch.no_grad())
        stack.enter_context(counter)
        try:
            outputs = backbone(image)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f'{_too_small(image, backbone)} ({error})') from error
    if any(feature.numel() == 0 for feature in _tensors(outputs)):
        raise ValueError(_too_small(image, backbone))
    # PyTorch counts a multiply and an add.
    return BackboneCost(counter.get_total_flops() // 2,
                        tuple(tuple(f // 2 for f in row) for row in blocks))


def _too_small(image: Tensor, backbone: nn.Module) -> str:
    return (f'an input of {image.shape[-2]} x {image.shape[-1]} px leaves no '
            f'feature map at the end of {type(backbone).__name__}')


def _tensors(outputs: Union[Tensor, Sequence, Dict]) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _tensors(output)
    elif isinstance(outputs, dict):
        yield from _tensors(list(outputs.values()))


def _count_blocks(stack: ExitStack, stages: Sequence[Stage],
                  counter: FlopCounterMode, blocks: List[List[int]]) -> None:
    """Read the counter before and after every block."""

    def watch(module: nn.Module, row: List[int], index: int) -> None:

        def before(*_) -> None:
            row[index] -= counter.get_total_flops()

        def after(*_) -> None:
            row[index] += counter.get_total_flops()

        stack.callback(module.register_forward_pre_hook(before).remove)
        stack.callback(module.register_forward_hook(after).remove)

    for stage, row in zip(stages, blocks):
        for index, block in enumerate(stage.blocks):
            watch(block.module, row, index)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for every submodule, each put back as it was."""
    modes = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode
