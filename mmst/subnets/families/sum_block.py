"""Blocks that add their input last."""

from typing import ContextManager

from torch import nn

from ..replace_forward import replace_forward
from ..stages import Block, keep_input


def make_sum_block(module: nn.Module) -> Block:
    """Make a block ``y = branch(x) + x``."""
    return Block(module, keep_input, _subtract_input)


def _subtract_input(module: nn.Module) -> ContextManager[None]:
    """Make such a block return its branch alone: subtract the input."""
    forward = module.forward
    return replace_forward(
        module, lambda x, *args, **kwargs: forward(x, *args, **kwargs) - x
    )
