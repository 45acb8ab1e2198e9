"""The cost of subnets: FLOPs of a backbone, by block and input size.

Only the forward pass is counted: the backward pass is proportional to it.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    Optional,
    Tuple,
)

import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from .compilation import run_uncompiled
from .preserve import preserve_modes
from .stages import Stage, find_network
from .subnet import Path, Subnet

Table = Tuple[Tuple[int, ...], ...]


@contextmanager
def count_flops() -> Iterator[Callable[[], int]]:
    """Count the multiply-adds of all PyTorch operations inside.

    Yields:
        A function that returns their number so far, or the total afterwards.

    Example:
        >>> with count_flops() as flops:
        ...     product = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> flops()
        24
    """
    counter = FlopCounterMode(display=False)
    # Without gradients, nn.MultiheadAttention and nn.TransformerEncoderLayer
    # run as one operation that has no formula, unless functions are
    # overridden. This mode overrides them and changes none.
    with BaseTorchFunctionMode(), _use_math_attention(), counter:
        # PyTorch counts the multiplication and the addition.
        yield lambda: counter.get_total_flops() // 2


def _use_math_attention() -> ContextManager[Any]:
    """Run attention as matrix products: some fused kernels have no formula."""
    try:
        from torch.nn.attention import (  # type: ignore[import-not-found]
            SDPBackend,
            sdpa_kernel,
        )
    except ImportError:  # its older name, deprecated later
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_mem_efficient=False
        )
    return sdpa_kernel(SDPBackend.MATH)


@dataclass(frozen=True)
class BackboneCost:
    """FLOPs of one forward pass on one image.

    A multiply-add counts as one, as usual: 4.1 G for ResNet-50 at 224 px
    (Table 4).

    Attributes:
        total: The whole backbone.
        blocks: Each block of each stage, with what the layer after the stage
            spends on its features (``after``).
        reads: FLOPs that each block spends on the features of any one
            earlier block of its stage; zero unless features are concatenated,
            as in DenseNet.
        after: FLOPs that the layer after each stage spends on the features
            of one block; likewise.
        before: FLOPs between one stage and the next; for the first stage,
            those of the stem.
        is_random: Whether the backbone is random even in evaluation mode, as
            MAE's is, which draws a mask. Passes then share nothing.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> whole = Subnet.ordered((2, 2, 2, 2), (2, 2, 2, 2))
        >>> cost.count(whole) == cost.total
        True
    """

    total: int
    blocks: Table
    reads: Table
    after: Tuple[int, ...]
    before: Tuple[int, ...]
    is_random: bool = False

    def count(self, subnet: Optional[Subnet]) -> int:
        """Count the FLOPs of a subnet; ``None``: of the main network."""
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

    def count_first(self, subnet: Subnet, num_blocks: int) -> int:
        """Count the FLOPs of a subnet before its block of that number.

        Over all stages; without what follows the last block.
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


def measure_cost(model: nn.Module, image: Tensor) -> BackboneCost:
    """Count the FLOPs of a model's backbone on one image.

    Runs it once in evaluation mode; its modes and the random state are kept.

    Args:
        model: A model or a backbone.
        image: (1, C, H, W).

    Raises:
        ValueError: If the image is too small for the backbone.

    Example:
        >>> cost = measure_cost(model, images[:1])
        >>> cost.count(Subnet.ordered((1, 2, 1, 2), (2, 2, 2, 2))) < cost.total
        True
    """
    backbone, stages = find_network(model)
    too_small = (
        f'an input of {image.shape[-2]} x {image.shape[-1]} px leaves no '
        f'feature map at the end of {type(backbone).__name__}'
    )
    # FLOPs of modules, and of what runs before a block since the last one.
    counts: Dict[nn.Module, int] = {}
    before: Dict[nn.Module, int] = {}
    spent = 0

    def start(module: nn.Module, *_: Any) -> None:
        counts[module] = counts.get(module, 0) - flops()
        if module in modules:
            before[module] = flops() - spent

    def end(module: nn.Module, *_: Any) -> None:
        nonlocal spent
        counts[module] += flops()
        if module in modules:
            spent = flops()

    modules = {block.module for stage in stages for block in stage.blocks}
    readers = [reader for stage in stages for reader in stage.readers]
    convs = {reader.conv for reader in readers if reader.conv is not None}
    with ExitStack() as stack, torch.no_grad(), run_uncompiled(backbone):
        stack.enter_context(preserve_modes(backbone))
        devices = [image.device] if image.is_cuda else []
        stack.enter_context(torch.random.fork_rng(devices))
        backbone.eval()
        flops = stack.enter_context(count_flops())
        for module in modules | convs:
            stack.callback(module.register_forward_pre_hook(start).remove)
            stack.callback(module.register_forward_hook(end).remove)
        state = _read_random_state(image)
        try:
            outputs = backbone(image)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f'{too_small} ({error})') from error
        # Some backbones are random even in evaluation mode, such as MAE's.
        is_random = not torch.equal(state, _read_random_state(image))
    if any(feature.numel() == 0 for feature in iter_tensors(outputs)):
        raise ValueError(too_small)
    firsts = tuple(before.get(s.blocks[0].module, 0) for s in stages)
    blocks, reads, after = zip(*(_count_stage(s, counts) for s in stages))
    return BackboneCost(flops(), blocks, reads, after, firsts, is_random)


def _read_random_state(image: Tensor) -> Tensor:
    if image.is_cuda:
        return torch.cuda.get_rng_state(image.device)
    return torch.get_rng_state()


def iter_tensors(outputs: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in lists and dicts of outputs."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        yield from iter_tensors([*outputs.values()])
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from iter_tensors(output)


def _count_stage(
    stage: Stage, counts: Dict[nn.Module, int]
) -> Tuple[Tuple[int, ...], Tuple[int, ...], int]:
    """Compute a stage's ``blocks``, ``reads`` and ``after``."""
    blocks = [counts.get(block.module, 0) for block in stage.blocks]
    reads, after = [0] * len(stage), 0
    for reader in stage.readers:
        if reader.conv is None:
            continue
        # Spent on the features of one block.
        one = counts.get(reader.conv, 0) * reader.growth
        one //= reader.norm.num_features
        if reader.num_blocks < len(stage):
            # Block i reads the i blocks before it.
            reads[reader.num_blocks] = one
        else:
            after = one
    return tuple(flops + after for flops in blocks), tuple(reads), after
