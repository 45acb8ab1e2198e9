"""Batched input transforms for subnets (SITrans)."""
from typing import Optional, Union

import torch.nn.functional as F
from torch import Tensor


def shorter_side(inputs: Tensor, size: Optional[Union[int, float]]) -> int:
    """Shorter side, in pixels, that a batch has at a subnet's size.

    Args:
        inputs: The main batch, (N, C, H, W).
        size: Pixels (``int``), a fraction of the batch's shorter side
            (``float``) or ``None`` for the batch as it is.
    """
    side = min(inputs.shape[-2:])
    if size is None:
        return side
    if isinstance(size, float):
        return max(1, round(size * side))
    return size


def resize_inputs(inputs: Tensor, size: Optional[Union[int, float]]) -> Tensor:
    """Resize a batch to a shorter side, aspect kept, bilinear (Eq. 8).

    Args:
        inputs: Batch of images, (N, C, H, W).
        size: See :func:`shorter_side`.

    Returns:
        Tensor: (N, C, H', W') with ``min(H', W')`` the asked size; the batch
        itself where that is its size already.
    """
    height, width = inputs.shape[-2:]
    new_side, side = shorter_side(inputs, size), min(height, width)
    if new_side == side:
        return inputs
    shape = tuple(
        max(1, round(length * new_side / side)) for length in (height, width))
    return F.interpolate(inputs, shape, mode='bilinear', align_corners=False)
