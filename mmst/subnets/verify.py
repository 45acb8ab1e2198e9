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
    Tuple,
)

import torch
from torch import Tensor, nn

from .activation import preserve_buffers
from .preserve import preserve_modes, preserve_random_state
from .subnet import Subnet

Tensors = Mapping[str, Optional[Tensor]]


class Outcome(NamedTuple):
    """What passes leave behind.

    Attributes:
        losses: Loss of each pass, by its index.
        gradients: Summed gradient of each parameter, by name.
        buffers: Each buffer, by name.
    """

    losses: Dict[int, Tensor]
    gradients: Dict[str, Optional[Tensor]]
    buffers: Dict[str, Tensor]

    @classmethod
    def read(cls, losses: Dict[int, Tensor], model: nn.Module) -> 'Outcome':
        """Read the gradients and buffers of a model after its passes."""
        return cls(
            losses,
            {name: p.grad for name, p in model.named_parameters()},
            {name: b.clone() for name, b in model.named_buffers()},
        )


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
    """Name what differs between passes apart and passes that share.

    Args:
        subnets: The passes.
        apart: Outcome of the passes apart.
        shared: Outcome of the passes that share.
        tolerance: Largest relative difference.

    Returns:
        str: A sentence; ``None`` if nothing differs.
    """
    for index, subnet in enumerate(subnets):
        one, other = float(shared.losses[index]), float(apart.losses[index])
        if abs(one - other) > tolerance * (abs(other) + 1e-3):
            name = 'the main network' if subnet is None else f'subnet {subnet}'
            return (
                f'the loss of {name} (pass {index}) is {one:.4g} when passes '
                f'share, and {other:.4g} apart'
            )
    pairs: Sequence[Tuple[str, Tensors, Tensors]] = (
        ('the summed gradient of', shared.gradients, apart.gradients),
        ('the buffer', shared.buffers, apart.buffers),
    )
    for kind, new, old in pairs:
        numbers = {
            name: tensor
            for name, tensor in old.items()
            if tensor is not None and tensor.is_floating_point()
        }
        sizes = [float(tensor.norm()) for tensor in numbers.values()]
        floor = 1e-3 * max(sizes, default=0.0) + 1e-30
        for name, tensor in numbers.items():
            found = new[name]
            off = 1.0
            if found is not None:
                change = (found - tensor).norm() / (tensor.norm() + floor)
                off = float(change)
            if off > tolerance:
                return (
                    f'{kind} {name} differs by {100 * off:.2g} % when passes '
                    'share'
                )
    return None
