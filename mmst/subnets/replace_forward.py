"""Replace a module's forward inside a context."""

from contextlib import contextmanager
from types import MethodType
from typing import Any, Callable, Iterator, Optional, Tuple

from torch import nn

Forward = Callable[..., Any]


class _Replaced:
    """A replacement for a module's forward that copies do not get.

    A copy or a pickle of the module has the original forward. Otherwise it
    would run the original's blocks, and stay a subnet for ever.

    Args:
        module: The module.
        own: The instance's own forward, if it has one.
        forward: What its calls run.
    """

    def __init__(
        self, module: nn.Module, own: Optional[Forward], forward: Forward
    ) -> None:
        self._module = module
        self._own = own
        self._forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def __reduce__(self) -> Tuple[Any, ...]:
        return get_original_forward, (self._module, self._own)


def get_original_forward(
    module: nn.Module, own: Optional[Forward] = None
) -> Forward:
    """Get a module's own forward, or else that of its class."""
    return own or MethodType(type(module).forward, module)


@contextmanager
def replace_forward(module: nn.Module, forward: Forward) -> Iterator[None]:
    """Replace the forward of one instance inside a context.

    Copies and pickles made inside have the original forward.

    Args:
        module: The instance; its class and other instances are not changed.
        forward: What its calls run inside the context.
    """
    # An instance may already have its own forward, as set by MMEngine's
    # activation checkpointing: that one must be restored.
    own = vars(module).get('forward')
    module.forward = _Replaced(module, own, forward)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
