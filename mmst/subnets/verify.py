"""Compare passes that share blocks with the same passes apart."""

import random
import sys
from contextlib import ExitStack, contextmanager
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
)

import torch
from torch import Tensor, nn

from .activation import preserve_buffers
from .preserve import preserve_modes, preserve_random_state
from .subnet import Subnet

Tensors = Mapping[str, Optional[Tensor]]


class Outcome(NamedTuple):
    """Losses of passes by index; summed gradients and buffers by name."""

    losses: Dict[int, Tensor]
    gradients: Tensors
    buffers: Tensors


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


@contextmanager
def fix_chance(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let each module draw the same numbers in every pass, shared or not."""
    with ExitStack() as stack:
        for number, module in enumerate(modules, 1):

            def seed(*args: Any, number: int = number) -> None:
                torch.manual_seed(number)

            stack.callback(module.register_forward_pre_hook(seed).remove)
            # The state afterwards must not depend on whether the module ran.
            stack.callback(module.register_forward_hook(seed).remove)
        yield


def seed_pass(index: int) -> None:
    """Seed a pass: PyTorch like all others, NumPy and Python by its index."""
    torch.manual_seed(0)
    random.seed(index)
    numpy: Any = sys.modules.get('numpy')
    if numpy:
        numpy.random.seed(index)


def find_difference(
    subnets: Sequence[Optional[Subnet]],
    apart: Outcome,
    shared: Outcome,
    tolerance: float,
) -> Optional[str]:
    """Name what differs by more than a relative tolerance, in a sentence."""
    for index, subnet in enumerate(subnets):
        one, other = float(shared.losses[index]), float(apart.losses[index])
        if abs(one - other) > tolerance * (abs(other) + 1e-3):
            name = 'the main network' if subnet is None else f'subnet {subnet}'
            return (
                f'the loss of {name} (pass {index}) is {one:.4g} when passes '
                f'share, and {other:.4g} apart'
            )
    for kind, new, old in (
        ('the summed gradient of', shared.gradients, apart.gradients),
        ('the buffer', shared.buffers, apart.buffers),
    ):
        numbers = {
            name: tensor
            for name, tensor in old.items()
            if tensor is not None and tensor.is_floating_point()
        }
        sizes = {
            name: float(tensor.norm()) for name, tensor in numbers.items()
        }
        floor = 1e-3 * max(sizes.values(), default=0.0) + 1e-30
        for name, tensor in numbers.items():
            found, off = new[name], 1.0
            if found is not None:
                off = float((found - tensor).norm()) / (sizes[name] + floor)
            if off > tolerance:
                return (
                    f'{kind} {name} differs by {100 * off:.2g} % when passes '
                    'share'
                )
    return None
