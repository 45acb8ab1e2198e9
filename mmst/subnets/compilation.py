"""Compile a network block by block, so that subnets can skip blocks."""

from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, Callable, Iterator, Tuple

import torch
from torch import nn

from .stages import find_stages, get_original_forward, replace_forward

Forward = Callable[..., Any]


class _Compiled:
    """A block's compiled forward.

    Args:
        module: The block.
        options: Options of ``torch.compile``.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        self.module = module
        self.plain: Forward = module.forward
        self._compiled = torch.compile(_copy_code(self.plain), **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def __reduce__(self) -> Tuple[Any, ...]:
        # A copy of the block has to run its own weights, not the original's.
        return get_original_forward, (self.module,)


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
    for block in blocks:
        block.forward = _Compiled(block, **{'dynamic': True, **options})


def is_compiled(block: nn.Module) -> bool:
    """Whether :func:`compile_blocks` has compiled a block."""
    return isinstance(vars(block).get('forward'), _Compiled)


@contextmanager
def run_uncompiled(model: nn.Module) -> Iterator[None]:
    """Run compiled blocks as they were before, inside a context.

    For what runs a model once: compiling a block takes seconds.

    Args:
        model: The model, a backbone or anything around it.
    """
    with ExitStack() as stack:
        for module in model.modules():
            forward = vars(module).get('forward')
            if isinstance(forward, _Compiled):
                stack.enter_context(replace_forward(module, forward.plain))
        yield


def check_not_compiled(model: nn.Module) -> None:
    """Refuse a model that is compiled with its blocks inside.

    Compiled code does not notice that a block's forward is replaced: a subnet
    would silently be the main network.

    Args:
        model: The model, a backbone or anything around it.

    Raises:
        ValueError: If the model, a block or a part that has blocks in it was
            compiled by ``torch.compile`` or ``nn.Module.compile``.
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

    return FunctionType(
        run.__code__.replace(),
        run.__globals__,
        run.__name__,
        run.__defaults__,
        run.__closure__,
    )
