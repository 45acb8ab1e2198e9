"""Restore the state of random number generators."""

import random
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import torch


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore all random states at the end of the context.

    Example:
        >>> with preserve_random_state():
        ...     first = torch.rand(())
        >>> torch.rand(()) == first
        tensor(True)
    """
    states = random.getstate(), np.random.get_state()
    devices = (
        [torch.cuda.current_device()] if torch.cuda.is_available() else []
    )
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
