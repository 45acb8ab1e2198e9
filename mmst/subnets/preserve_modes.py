"""Restore training and evaluation mode."""

from contextlib import contextmanager
from typing import Iterator

from torch import nn


@contextmanager
def preserve_modes(model: nn.Module) -> Iterator[None]:
    """Restore the mode of every submodule afterwards.

    Example:
        >>> with preserve_modes(model):
        ...     logits = model.eval()(images)
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
