"""Maps with one label per pixel."""

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .resizing import Resizing


def resize_label_map(
    label_map: Tensor,
    resizing: Resizing,
    pad_value: float,
    image_shape: Sequence[int],
) -> Tensor:
    """Resize a map of labels to the nearest pixel, then pad it.

    The nearest pixel is that of ``cv2.INTER_NEAREST``, which the toolboxes'
    ``Resize`` transforms use for maps: the floor of the exact position.
    (PyTorch's ``mode='nearest'`` means the same, but rounds the position to
    float32 and is sometimes off by one pixel.)

    Args:
        label_map: (..., H, W), of any type, as large as the image or as the
            main batch.
        resizing: How the images were resized.
        pad_value: Value of the padding: the ignored label.
        image_shape: (H, W) of the image in the main batch.

    Returns:
        Tensor: (..., H', W') with the padded shape of the subnet's batch.

    Raises:
        ValueError: If the map has another size.
    """
    shapes = (tuple(image_shape), tuple(resizing.main_shape))
    if tuple(label_map.shape[-2:]) not in shapes:
        raise ValueError(
            f'maps of {tuple(label_map.shape[-2:])} (h, w) cannot be resized '
            f'with their image: they are neither as large as the image, '
            f'{shapes[0]}, nor as the batch, {shapes[1]}'
        )
    # A smaller image's padding in the batch was resized with it.
    label_map = _pad(label_map, resizing.main_shape, pad_value)
    rows, columns = (
        _find_nearest(old, new, label_map.device)
        for old, new in zip(resizing.main_shape, resizing.resized_shape)
    )
    label_map = label_map[..., rows[:, None], columns]
    return _pad(label_map, resizing.padded_shape, pad_value)


def _find_nearest(old: int, new: int, device: torch.device) -> Tensor:
    """Find the index, 0 to ``old - 1``, that each of ``new`` pixels takes."""
    # In OpenCV's order of operations, because of ties.
    step = 1 / (new / old)
    positions = torch.arange(new, dtype=torch.float64, device=device) * step
    return positions.floor().long().clamp(max=old - 1)


def _pad(label_map: Tensor, shape: Sequence[int], value: float) -> Tensor:
    bottom, right = (to - now for to, now in zip(shape, label_map.shape[-2:]))
    return F.pad(label_map, (0, right, 0, bottom), value=value)
