"""Blocks whose last operation adds their input."""

from typing import ContextManager

from torch import nn

from ..replace_forward import replace_forward
from ..stages import Block, identity


def sum_block(module: nn.Module) -> Block:
    """Describe a block ``y = branch(x) + x``."""
    return Block(module, identity, _without_input)


def _without_input(module: nn.Module) -> ContextManager[None]:
    """Let such a block give its branch alone, by taking its input off."""
    forward = module.forward
    return replace_forward(
        module, lambda x, *args, **kwargs: forward(x, *args, **kwargs) - x
    )
