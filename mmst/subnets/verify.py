"""Compare passes that share blocks with the same passes apart."""

import random
import sys
from contextlib import ExitStack, contextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
)

import torch
from torch import Tensor, nn

from .activation import preserve_buffers
from .preserve import preserve_modes, preserve_random_state
from .subnet import Subnet

if TYPE_CHECKING:
    from .shared_prefix import Pass

LOSS = 'the loss of'
# Kinds of tensors, such as losses, each by name.
Outcome = Dict[str, Mapping[str, Optional[Tensor]]]


@contextmanager
def run_without_trace(model: nn.Module) -> Iterator[None]:
    """Restore gradients, buffers, modes and random states afterwards.

    Inside, no parameter has a gradient at first.
    """
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in kept:
        parameter.grad = None
    with preserve_buffers(model.modules()), preserve_modes(
        model
    ), preserve_random_state():
        try:
            yield
        finally:
            for parameter, gradient in kept:
                parameter.grad = gradient


def record(
    model: nn.Module,
    drawing: Iterable[nn.Module],
    passes: Iterable['Pass'],
    loss: Callable[[Optional[Subnet]], Tensor],
) -> Outcome:
    """Run passes without a trace; return losses, gradients and buffers.

    Each of the ``drawing`` modules draws the same numbers from PyTorch's
    generator in every pass, shared or not. NumPy's and Python's give each
    pass other ones.
    """
    losses: Dict[str, Tensor] = {}
    numpy: Any = sys.modules.get('numpy')
    with run_without_trace(model), ExitStack() as stack:
        for number, module in enumerate(drawing, 1):

            def seed(*args: Any, number: int = number) -> None:
                torch.manual_seed(number)

            stack.callback(module.register_forward_pre_hook(seed).remove)
            # The state afterwards must not depend on whether the module ran.
            stack.callback(module.register_forward_hook(seed).remove)
        for one in passes:
            with one:
                torch.manual_seed(0)
                random.seed(one.index)
                if numpy:
                    numpy.random.seed(one.index)
                value = loss(one.subnet)
                one.backward(value)
            name = f'subnet {one.subnet}' if one.subnet else 'the main network'
            losses[f'{name} (pass {one.index})'] = value.detach()
        return {
            LOSS: losses,
            'the summed gradient of': {
                name: p.grad for name, p in model.named_parameters()
            },
            'the buffer': {n: b.clone() for n, b in model.named_buffers()},
        }


def find_difference(
    apart: Outcome, shared: Outcome, tolerance: Optional[float]
) -> Optional[str]:
    """Name what differs by more than a relative tolerance, in a sentence."""
    if tolerance is None:
        first = next(iter(apart[LOSS].values()))
        usual = {torch.float64: 1e-6, torch.float32: 1e-2}
        tolerance = usual.get(first.dtype, 0.1)  # type: ignore[union-attr]
    for kind, tensors in apart.items():
        sizes = {
            name: float(tensor.norm())
            for name, tensor in tensors.items()
            if tensor is not None and tensor.is_floating_point()
        }
        largest = 1 if kind is LOSS else max(sizes.values(), default=0)
        for name, size in sizes.items():
            found, off = shared[kind][name], 1.0
            if found is not None:
                off = float((found - tensors[name]).norm())
                off /= size + 1e-3 * largest + 1e-30
            if off > tolerance:
                return (
                    f'{kind} {name} differs by {100 * off:.2g} % when passes '
                    f'share, and has size {size:.4g} apart'
                )
    return None
