"""What a subnet costs: FLOPs of a backbone, block by block and size by size.

The backward pass costs in proportion to the forward pass, so that counting
the forward pass is enough.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .flops import count_flops
from .preserve_modes import preserve_modes
from .random_state import read_random_state
from .space import SamplingSpace
from .stages import Stage, find_backbone, find_stages
from .subnet import Path, Subnet

Table = Tuple[Tuple[int, ...], ...]


@dataclass(frozen=True)
class BackboneCost:
    """FLOPs of one forward pass on one image.

    A multiply-add counts one, as usual: 4.1 G for ResNet-50
    at 224 px (Table 4).

    Attributes:
        total: The whole backbone.
        blocks: Each block of each stage, with what the layer after the stage
            spends on its features if these are concatenated, as in DenseNet.
        reads: What each block spends, if features are concatenated, on those
            of any one earlier block of its stage; zero if they are added.
        after: What the layer after each stage spends on those of one block.
        before: What is spent between each stage and the one before; for the
            first stage, the stem.
        is_random: Whether the backbone draws at random even in evaluation
            mode, as MAE's draws its mask. Passes then have nothing in common.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> cost.of(Subnet.ordered((2, 2, 2, 2), (2, 2, 2, 2))) == cost.total
        True
    """

    total: int
    blocks: Table
    reads: Table
    after: Tuple[int, ...]
    before: Tuple[int, ...]
    is_random: bool = False

    def of(self, subnet: Optional[Subnet]) -> int:
        """FLOPs of a subnet on this input size; ``None``: all."""
        cost = self.total
        if subnet is None:
            return cost
        for flops, reads, paths in zip(self.blocks, self.reads, subnet.paths):
            skipped = 0
            for block, read, path in zip(flops, reads, paths):
                if path is Path.SHORTCUT:
                    cost -= block
                    skipped += 1
                else:
                    cost -= read * skipped
        return cost

    def of_first(self, subnet: Subnet, num_blocks: int) -> int:
        """FLOPs of a subnet before it comes to one of its blocks.

        Args:
            subnet: The subnet.
            num_blocks: Number of blocks, of all stages, that come before; if
                these are all, what follows the last does not count.
        """
        cost, not_read = 0, 0
        for paths, before, blocks, reads, after in zip(
            subnet.paths, self.before, self.blocks, self.reads, self.after
        ):
            cost += before - not_read
            skipped = 0
            for path, block, read in zip(paths[:num_blocks], blocks, reads):
                if path is Path.SHORTCUT:
                    skipped += 1
                else:
                    cost += block - after - read * skipped
            num_blocks -= len(paths)
            if num_blocks < 0:
                break
            not_read = skipped * after
        return cost

    def mean(self, space: SamplingSpace) -> float:
        """Expected FLOPs of a subnet drawn from a space on this size."""
        cost = float(self.total)
        for flops, keeps in zip(self.blocks, space.keep_probability()):
            cost -= sum(f * (1 - keep) for f, keep in zip(flops, keeps))
        for reads, skips in zip(self.reads, space.mean_skipped_before()):
            cost -= sum(r * skipped for r, skipped in zip(reads, skips))
        return cost


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
        # Some backbones draw even in evaluation mode: MAE draws its mask.
        devices = [image.device] if image.is_cuda else []
        stack.enter_context(torch.random.fork_rng(devices))
        flops = stack.enter_context(count_flops())
        counts, before = _count_modules(stack, stages, flops)
        state = read_random_state(image.device)
        try:
            outputs = backbone(image)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f'{_too_small(image, backbone)} ({error})'
            ) from error
        is_random = state != read_random_state(image.device)
    if any(feature.numel() == 0 for feature in iter_tensors(outputs)):
        raise ValueError(_too_small(image, backbone))
    blocks, reads, after = zip(
        *(_stage_flops(stage, counts) for stage in stages)
    )
    firsts = [stage.blocks[0].module for stage in stages]
    return BackboneCost(
        flops(),
        blocks,
        reads,
        after,
        tuple(before.get(block, 0) for block in firsts),
        is_random,
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
) -> Tuple[Dict[nn.Module, int], Dict[nn.Module, int]]:
    """Read the count before and after all that a subnet changes.

    Returns:
        What each module spends, and what each block finds spent since the
        block before it.
    """
    counts: Dict[nn.Module, int] = {}
    before: Dict[nn.Module, int] = {}
    blocks = {block.module for stage in stages for block in stage.blocks}
    spent = 0

    def start(module: nn.Module, *_: Any) -> None:
        counts[module] = counts.get(module, 0) - flops()
        if module in blocks:
            before[module] = flops() - spent

    def end(module: nn.Module, *_: Any) -> None:
        nonlocal spent
        counts[module] += flops()
        if module in blocks:
            spent = flops()

    for stage in stages:
        watched = [block.module for block in stage.blocks]
        watched += [
            reader.conv for reader in stage.readers if reader.conv is not None
        ]
        for module in watched:
            stack.callback(module.register_forward_pre_hook(start).remove)
            stack.callback(module.register_forward_hook(end).remove)
    return counts, before


def _stage_flops(
    stage: Stage, counts: Dict[nn.Module, int]
) -> Tuple[Tuple[int, ...], Tuple[int, ...], int]:
    """Multiply-adds of a stage's blocks, and those of reading one block.

    In the stage, block by block, and after it.
    """
    blocks = [counts.get(block.module, 0) for block in stage.blocks]
    reads, after = [0] * len(stage), 0
    for reader in stage.readers:
        if reader.conv is None:
            continue
        one = reader.flops_a_block(counts.get(reader.conv, 0))
        if reader.num_blocks < len(stage):
            # Block i reads those before it, i in number.
            reads[reader.num_blocks] = one
        else:
            blocks = [flops + one for flops in blocks]
            after = one
    return tuple(blocks), tuple(reads), after
