"""Detect whether random numbers were drawn in the meantime."""

from typing import Optional

import torch


def read_random_state(device: Optional[torch.device] = None) -> bytes:
    """Read the state of PyTorch's generators, to compare it with a later one.

    Args:
        device: Where the network runs; a GPU has its own generator.
    """
    states = [torch.get_rng_state()]
    if device is not None and device.type == 'cuda':
        states.append(torch.cuda.get_rng_state(device))
    return b''.join(state.numpy().tobytes() for state in states)
