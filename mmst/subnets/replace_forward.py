"""Run something else in place of a module's forward, for a while."""

from contextlib import contextmanager
from typing import Any, Callable, Iterator

from torch import nn


@contextmanager
def replace_forward(
    module: nn.Module, forward: Callable[..., Any]
) -> Iterator[None]:
    """Give one instance another forward for a while.

    Args:
        module: The instance; its class and its other instances keep theirs.
        forward: What its calls run inside the context.
    """
    # An instance may have a forward of its own already, as MMEngine's
    # activation checkpointing gives it: that one has to come back.
    own = vars(module).get('forward')
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
