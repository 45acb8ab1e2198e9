"""Put back what passes change besides buffers: modes, random states."""

import random
import sys
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from torch import nn


@contextmanager
def preserve_modes(model: nn.Module) -> Iterator[None]:
    """Restore the training or evaluation mode of every submodule afterwards.

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


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the random states of PyTorch, NumPy and Python afterwards.

    Example:
        >>> with preserve_random_state():
        ...     first = torch.rand(())
        >>> torch.rand(()) == first
        tensor(True)
    """
    # Nobody has drawn from NumPy where it is not imported.
    numpy: Any = sys.modules.get('numpy')
    own = random.getstate()
    numpys = numpy.random.get_state() if numpy else None
    devices = (
        [torch.cuda.current_device()] if torch.cuda.is_available() else []
    )
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(own)
        if numpy:
            numpy.random.set_state(numpys)
