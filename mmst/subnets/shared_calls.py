"""The calls that a pass and the next one have in common."""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from .random_state import read_random_state
from .replace_forward import replace_forward
from .subnet import Path


@dataclass(eq=False)
class _Call:
    """A call whose graph is kept, cut off from what follows.

    Attributes:
        module: What was called.
        is_main: Whether the main network called it.
        given: What callers get: its output, with copies of what was cut.
        cuts: Tensors of the true output, each with its copy. Later graphs
            end at the copy and leave their gradient there.
        versions: Version counters of ``given``, which tell whether something
            was written into it; empty if that does not matter.
        overwritten: Copies of earlier calls' outputs that this call wrote
            into.
    """

    module: nn.Module
    is_main: bool
    given: Any
    cuts: List[Tuple[Tensor, Tensor]]
    versions: Sequence[int] = ()
    overwritten: List[Tensor] = field(default_factory=list)

    def is_intact(self) -> bool:
        """Whether nothing was written into its output."""
        return not self.versions or self.versions == _read_versions(self.given)

    def backpropagate(self) -> None:
        """Backpropagate the gradient accumulated in the copies."""
        if any(copy.grad is not None for copy in self.overwritten):
            raise RuntimeError(
                f'{type(self.module).__name__} between the blocks overwrites '
                'its input, which is also needed elsewhere: set inplace=False '
                'there, or turn sharing off (share=False; in a config, '
                'share_prefixes=False in train_cfg)'
            )
        used = [
            (true, copy.grad)
            for true, copy in self.cuts
            if copy.grad is not None
        ]
        if used:
            tensors, gradients = zip(*used)
            torch.autograd.backward(tensors, gradients)


class SharedCalls:
    """Calls of blocks, and of layers between them, that passes share.

    The output of a call that the next pass repeats is cut off, and the next
    pass gets it instead of running the module. Sharing ends where the network
    draws random numbers between the calls, as MAE does for its mask.

    Args:
        blocks: The blocks, each with its index in the paths.
        between: The modules that are called before and between blocks.
    """

    def __init__(
        self, blocks: Dict[nn.Module, int], between: Sequence[nn.Module]
    ) -> None:
        self._blocks = blocks
        self._watched = [*blocks, *between]
        self._device = next(
            (p.device for block in blocks for p in block.parameters()), None
        )
        self._calls: List[_Call] = []

    @contextmanager
    def watch(
        self,
        is_main: bool,
        paths: Sequence[Path],
        following: Optional[Sequence[Path]],
    ) -> Iterator[None]:
        """Share the calls of one pass, whose forward and backward run inside.

        Args:
            is_main: Whether this is the main network's pass.
            paths: Its path through each block.
            following: The next pass's path through each block, if there is
                a next pass.
        """
        self._is_main = is_main
        self._paths = paths
        self._following = following
        self._num_given = len(self._calls)
        self._num_made = 0
        # How many calls the next pass shares, once that is known.
        self._num_kept: Optional[int] = None if following else 0
        self._is_inside = False
        self._is_hooked = _is_hooked()
        self._random_state = read_random_state(self._device)
        is_apart = following is None and not self._calls
        with ExitStack() as stack:
            for module in [] if is_apart else self._watched:
                forward = partial(self._call, module, module.forward)
                stack.enter_context(replace_forward(module, forward))
            yield

    def go_alone(self) -> None:
        """Run every call from now on, and share none with the next pass.

        After the forward pass, calls are those of gradient checkpointing.
        """
        self._num_given = self._num_made
        self._end_shared()

    def backpropagate(self, is_main: bool) -> None:
        """Backpropagate what the next pass does not share, deepest first.

        Args:
            is_main: Whether to do so for calls of the main network, or for
                those of subnets, which come before them.
        """
        while (
            len(self._calls) > (self._num_kept or 0)
            and self._calls[-1].is_main is is_main
        ):
            self._calls.pop().backpropagate()

    def _end_shared(self) -> None:
        if self._num_kept is None:
            self._num_kept = self._num_made

    def _call(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if self._is_inside:
            return forward(*args, **kwargs)
        number = self._blocks.get(module)
        if (
            number is not None
            and self._following is not None
            and self._paths[number] is not self._following[number]
        ):
            self._end_shared()
        self._is_inside = True
        try:
            return self._reuse_or_make(module, forward, args, kwargs)
        finally:
            self._is_inside = False
            if number == len(self._blocks) - 1:
                self._end_shared()

    def _reuse_or_make(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
    ) -> Any:
        if self._num_made < self._num_given:
            call = self._calls[self._num_made]
            if call.module is module:
                self._num_made += 1
                if call.is_intact():
                    return call.given
                return forward(*args, **kwargs)
            # The network takes another way, by chance or by its own state.
            self.go_alone()
        if not torch.is_grad_enabled() or _is_hooked() > self._is_hooked:
            # Checkpointing around this call will repeat it, among others.
            self._end_shared()
        if self._num_kept is not None:
            return forward(*args, **kwargs)
        if read_random_state(self._device) != self._random_state:
            self._end_shared()
            return forward(*args, **kwargs)
        call = self._make(module, forward, args, kwargs)
        self._calls.append(call)
        self._num_made += 1
        self._random_state = read_random_state(self._device)
        return call.given

    def _make(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
    ) -> _Call:
        overwritten: List[Tensor] = []
        last = self._calls[-1] if self._calls else None
        if _is_inplace(module) and last and args and args[0] is last.given:
            # PyTorch refuses writes into a copy, so write into the tensor
            # itself. The two calls are then one, whose first output is gone.
            last.versions = ()
            for true, copy in last.cuts:
                args = (true, *args[1:])
                overwritten = [*last.overwritten, copy]
            last.cuts, last.overwritten = [], []
        given, cuts = _cut(forward(*args, **kwargs))
        return _Call(
            module,
            self._is_main,
            given,
            cuts,
            _read_versions(given),
            overwritten,
        )


def _is_hooked() -> bool:
    """Whether hooks on saved tensors are set, as by some checkpointing."""
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks('hooked'):
            return False
    except RuntimeError:
        return True


def _is_inplace(module: nn.Module) -> bool:
    """Whether a layer, such as a ReLU, writes into its input."""
    is_layer = next(module.children(), None) is None
    return is_layer and getattr(module, 'inplace', False)


def _cut(output: Any) -> Tuple[Any, List[Tuple[Tensor, Tensor]]]:
    """Replace all tensors that have a graph by copies.

    Copies share the tensors' memory, require a gradient and have no graph.
    """
    cuts: Dict[int, Tuple[Tensor, Tensor]] = {}

    def copy_tensor(item: Any) -> Any:
        if not isinstance(item, Tensor) or item.grad_fn is None:
            return item
        if id(item) not in cuts:
            cuts[id(item)] = item, item.detach().requires_grad_()
        return cuts[id(item)][1]

    return tree_map(copy_tensor, output), list(cuts.values())


def _read_versions(output: Any) -> List[int]:
    return [
        item._version
        for item in tree_flatten(output)[0]
        if isinstance(item, Tensor)
    ]
