"""Maps with one label per pixel."""

from typing import Any, Dict, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .handler import Resizing


def resize_label_map(
    label_map: Tensor,
    resizing: Resizing,
    pad_value: float,
    image_shape: Sequence[int],
) -> Tensor:
    """Resize a map of labels to the nearest pixel.

    The nearest pixel is that of ``cv2.INTER_NEAREST``, which the toolboxes'
    ``Resize`` transforms use for maps: the floor of the exact position.
    (PyTorch's ``mode='nearest'`` means the same, but rounds the position to
    float32 and is sometimes off by one pixel.)

    Args:
        label_map: (..., H, W), of any type, as large as the main batch, or
            only as large as the image, which the data preprocessor left so.
        resizing: How the images were resized.
        pad_value: Value of the padding: the ignored label.
        image_shape: (H, W) of the image in the main batch.

    Returns:
        Tensor: (..., H', W'), as large as the subnet's batch, padded, or only
        as large as the image in it.

    Raises:
        ValueError: If the map has another size.
    """
    shape = tuple(label_map.shape[-2:])
    if shape == tuple(resizing.main_shape):
        # A smaller image's padding in the batch was resized with it.
        small = _take_nearest(label_map, resizing.resized_shape)
        height, width = resizing.padded_shape
        below, right = height - small.shape[-2], width - small.shape[-1]
        return F.pad(small, (0, right, 0, below), value=pad_value)
    if shape == tuple(image_shape):
        return _take_nearest(label_map, resizing.resize_shape(image_shape))
    raise ValueError(
        f'maps of {shape} (h, w) cannot be resized '
        f'with their image: they are neither as large as the image, '
        f'{tuple(image_shape)}, nor as the batch, '
        f'{tuple(resizing.main_shape)}'
    )


def _take_nearest(label_map: Tensor, shape: Sequence[int]) -> Tensor:
    rows, columns = (
        _find_nearest(old, new, label_map.device)
        for old, new in zip(label_map.shape[-2:], shape)
    )
    return label_map[..., rows[:, None], columns]


def _find_nearest(old: int, new: int, device: torch.device) -> Tensor:
    """Find the index, 0 to ``old - 1``, that each of ``new`` pixels takes."""
    # In OpenCV's order of operations, because of ties.
    step = 1 / (new / old)
    positions = torch.arange(new, dtype=torch.float64, device=device) * step
    return positions.floor().long().clamp(max=old - 1)


def find_ignored_labels(model: nn.Module) -> Dict[str, Any]:
    """Find the label that each head and loss of a model ignores.

    Returns:
        The labels by their paths, such as ``decode_head.ignore_index``.
    """
    return {
        f'{path}.{name}'.lstrip('.'): vars(module)[name]
        for path, module in model.named_modules()
        for name in ('ignore_index', 'ignore_label')
        if name in vars(module)
    }


def check_ignored(
    ignored: Dict[str, Any], pad_name: str, pad_value: float
) -> None:
    """Refuse to pad maps of labels with a label that is not ignored.

    Args:
        ignored: The labels that heads and losses ignore, by their paths.
        pad_name: Name of the data preprocessor's option for the padding.
        pad_value: Its value.

    Raises:
        ValueError: If they are not the same.
    """
    others = [
        f'{path}={label}'
        for path, label in ignored.items()
        if label != pad_value
    ]
    if others:
        raise ValueError(
            "cannot pad a subnet's label map: model.data_preprocessor pads "
            f'with {pad_name}={pad_value}, which the losses would learn, as '
            f'they ignore another label: {", ".join(others)}. Set '
            f'{pad_name} and every ignore_index of the model to the same '
            'label, or set neither `size_range` nor `sizes` in '
            'SubnetSamplerHook'
        )
