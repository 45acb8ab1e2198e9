"""Compile a network block by block, so that subnets can skip blocks."""

from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, Iterator

import torch
from torch import nn

from .stages import Forward, Replacement, find_stages, replace_forward


class _Compiled(Replacement):
    """A compiled forward; a copy of the block runs its own, uncompiled."""


def compile_blocks(model: nn.Module, **options: Any) -> None:
    """Compile the residual blocks of a model, each separately, in place.

    The rest of the model is not compiled. Subnets skip compiled blocks like
    others, and passes share them. Call it after the model is built and moved
    to its device. Checkpoint keys do not change, and a copy of the model is
    not compiled.

    Args:
        model: The model, a backbone or anything around it.
        **options: Options of ``torch.compile``, such as ``backend`` and
            ``mode``. ``dynamic`` defaults to ``True``: subnets' inputs have
            many sizes, each of which would be compiled again.

    Raises:
        TypeError: If the model's stages cannot be found.
        ValueError: If a block is already compiled.

    Example:
        >>> compile_blocks(model, backend='eager')
        >>> with activate(model, (1, 1, 1, 1)):
        ...     logits = model(images)
    """
    check_not_compiled(model)
    blocks = [
        block.module for stage in find_stages(model) for block in stage.blocks
    ]
    if any(map(is_compiled, blocks)):
        raise ValueError(
            'the blocks of the model are already compiled: call '
            'compile_blocks only once'
        )
    options = {'dynamic': True, **options}
    for block in blocks:
        compiled = torch.compile(_copy_code(block.forward), **options)
        block.forward = _Compiled(block.forward, compiled)


def is_compiled(block: nn.Module) -> bool:
    """Whether :func:`compile_blocks` has compiled a block."""
    return isinstance(vars(block).get('forward'), _Compiled)


@contextmanager
def run_uncompiled(model: nn.Module) -> Iterator[None]:
    """Run compiled blocks as they were before, as compiling takes seconds."""
    with ExitStack() as stack:
        for module in model.modules():
            forward = vars(module).get('forward')
            if isinstance(forward, _Compiled):
                stack.enter_context(replace_forward(module, forward.original))
        yield


def check_not_compiled(model: nn.Module) -> None:
    """Raise a ValueError for a model that is compiled, as a whole or in part.

    Compiled code does not notice that a block's forward is replaced: a subnet
    would silently be the main network.
    """
    for module in model.modules():
        is_wrapper = type(module).__name__ == 'OptimizedModule'
        if is_wrapper or getattr(module, '_compiled_call_impl', None):
            inner = getattr(module, '_orig_mod', module)
            raise ValueError(
                f'{type(inner).__name__} is compiled as a whole by '
                'torch.compile, so no block in it can be skipped: '
                'compile the blocks instead, with '
                'mmst.subnets.compile_blocks(model), or in a config with '
                'compile=True'
            )


def _copy_code(forward: Forward) -> Forward:
    """Wrap a function so that it has its own code object.

    PyTorch caches compiled code by code object, which all blocks of a class
    share, and gives up after a few entries.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    code = run.__code__.replace()
    return FunctionType(code, run.__globals__, closure=run.__closure__)
