"""What a subnet costs: FLOPs of a backbone, block by block and size by size.

The cost of an ST iteration over a plain one is ``1 + sum_k f_k``, where f_k
is the subnet's share of the main network's FLOPs. The backward pass costs in
proportion to the forward pass, so that counting the forward pass is enough.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Sequence, Tuple

import torch
from torch import Tensor, nn

from .flops import count_flops
from .input_sizes import InputSizes
from .inputs import resize_inputs
from .preserve_modes import preserve_modes
from .space import SamplingSpace
from .stages import Stage, find_backbone, find_stages
from .subnet import Path, Subnet

Table = Tuple[Tuple[int, ...], ...]


@dataclass(frozen=True)
class BackboneCost:
    """FLOPs of one forward pass on one image.

    A multiply-add counts one, as is the field's custom: 4.1 G for ResNet-50
    at 224 px (Table 4).

    Attributes:
        total: The whole backbone.
        blocks: Each block of each stage, with what the layer after the stage
            spends on its features if these are concatenated, as in DenseNet.
        reads: What each block spends, if features are concatenated, on those
            of any one earlier block of its stage; zero if they are added.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> cost.of(Subnet.ordered((2, 2, 2, 2), (2, 2, 2, 2))) == cost.total
        True
    """

    total: int
    blocks: Table
    reads: Table

    def of(self, subnet: Subnet) -> int:
        """FLOPs of a subnet on this input size."""
        cost = self.total
        for flops, reads, paths in zip(self.blocks, self.reads, subnet.paths):
            skipped = 0
            for block, read, path in zip(flops, reads, paths):
                if path is Path.SHORTCUT:
                    cost -= block
                    skipped += 1
                else:
                    cost -= read * skipped
        return cost

    def mean(self, space: SamplingSpace) -> float:
        """Expected FLOPs of a subnet drawn from a space on this size."""
        cost = float(self.total)
        for flops, keeps in zip(self.blocks, space.keep_probability()):
            cost -= sum(f * (1 - keep) for f, keep in zip(flops, keeps))
        for reads, skips in zip(self.reads, space.mean_skipped_before()):
            cost -= sum(r * skipped for r, skipped in zip(reads, skips))
        return cost


def iteration_cost(
    model: nn.Module,
    image: Tensor,
    space: SamplingSpace,
    sizes: InputSizes,
    num_subnets: int,
    most: int = 16,
) -> float:
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

    Example:
        >>> space = SamplingSpace((2, 2, 2, 2), min_depth=1)
        >>> sizes = InputSizes(size_range=(0.5, 1.0))
        >>> 1 < iteration_cost(model, images[:1], space, sizes, 1) < 2
        True
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
    and the random state as they were.

    Args:
        model: A model or a backbone.
        image: (1, C, H, W).

    Raises:
        ValueError: If the image is too small for the backbone.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> cost.of(Subnet.ordered((1, 2, 1, 2), (2, 2, 2, 2))) < cost.total
        True
    """
    backbone, stages = find_backbone(model), find_stages(model)
    with ExitStack() as stack:
        stack.enter_context(preserve_modes(backbone))
        backbone.eval()
        stack.enter_context(torch.no_grad())
        # Some backbones draw at random even then: MAE's draws its mask.
        devices = [image.device] if image.is_cuda else []
        stack.enter_context(torch.random.fork_rng(devices))
        flops = stack.enter_context(count_flops())
        counts = _count_modules(stack, stages, flops)
        try:
            outputs = backbone(image)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f'{_too_small(image, backbone)} ({error})'
            ) from error
    if any(feature.numel() == 0 for feature in iter_tensors(outputs)):
        raise ValueError(_too_small(image, backbone))
    return BackboneCost(
        flops(),
        *zip(*(_stage_flops(stage, counts) for stage in stages)),
    )


def _too_small(image: Tensor, backbone: nn.Module) -> str:
    return (
        f'an input of {image.shape[-2]} x {image.shape[-1]} px leaves no '
        f'feature map at the end of {type(backbone).__name__}'
    )


def iter_tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from iter_tensors(output)
    elif isinstance(outputs, dict):
        yield from iter_tensors(list(outputs.values()))


def _count_modules(
    stack: ExitStack, stages: Sequence[Stage], flops: Callable[[], int]
) -> Dict[nn.Module, int]:
    """Read the count before and after all that a subnet changes."""
    counts: Dict[nn.Module, int] = {}

    def before(module: nn.Module, *_: Any) -> None:
        counts[module] = counts.get(module, 0) - flops()

    def after(module: nn.Module, *_: Any) -> None:
        counts[module] += flops()

    for stage in stages:
        watched = [block.module for block in stage.blocks]
        watched += [
            reader.conv for reader in stage.readers if reader.conv is not None
        ]
        for module in watched:
            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
    return counts


def _stage_flops(
    stage: Stage, counts: Dict[nn.Module, int]
) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    """Multiply-adds of a stage's blocks, and those of reading one block."""
    blocks = [counts.get(block.module, 0) for block in stage.blocks]
    reads = [0] * len(stage)
    for reader in stage.readers:
        if reader.conv is None:
            continue
        one = reader.flops_a_block(counts.get(reader.conv, 0))
        if reader.num_blocks < len(stage):
            # Block i reads those before it, i in number.
            reads[reader.num_blocks] = one
        else:
            blocks = [flops + one for flops in blocks]
    return tuple(blocks), tuple(reads)
