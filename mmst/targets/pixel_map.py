"""Maps with one label per pixel."""

from typing import Any, Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .fields import NO_SIZES, Resizing


def resize_label_map(
    label_map: Tensor,
    resizing: Resizing,
    pad_name: str,
    image_shape: Sequence[int],
) -> Tensor:
    """Resize a map of labels, (..., H, W), to the nearest pixel.

    The result is as large as the main batch or, if the data preprocessor left
    it so, as the image in it, (H, W), and is padded with the preprocessor's
    option ``pad_name``. The nearest pixel is that of ``cv2.INTER_NEAREST``,
    which the toolboxes' ``Resize`` transforms use for maps: the floor of the
    exact position. (PyTorch's ``mode='nearest'`` means the same, but rounds
    the position to float32 and is sometimes off by one pixel.)
    """
    shape = tuple(label_map.shape[-2:])
    if shape == tuple(resizing.main_shape):
        # A smaller image's padding in the batch was resized with it.
        small = _take_nearest(label_map, resizing.resized_shape)
        height, width = resizing.padded_shape
        below, right = height - small.shape[-2], width - small.shape[-1]
        padding = resizing.get_pad_value(pad_name, 255)
        return F.pad(small, (0, right, 0, below), value=padding)
    if shape == tuple(image_shape):
        return _take_nearest(label_map, resizing.resize_shape(image_shape))
    raise ValueError(
        f'maps of {shape} (h, w) cannot be resized '
        f'with their image: they are neither as large as the image, '
        f'{tuple(image_shape)}, nor as the batch, '
        f'{tuple(resizing.main_shape)}'
    )


def _take_nearest(label_map: Tensor, shape: Sequence[int]) -> Tensor:
    indices = []
    for old, new in zip(label_map.shape[-2:], shape):
        steps = torch.arange(new, dtype=torch.float64, device=label_map.device)
        # In OpenCV's order of operations, because of ties.
        positions = steps * (1 / (new / old))
        indices.append(positions.floor().long().clamp(max=old - 1))
    rows, columns = indices
    return label_map[..., rows[:, None], columns]


def check_ignored(
    resizing: Resizing, pad_name: str, counts: Callable[[str, Any], bool]
) -> None:
    """Reject padding of label maps with a label that is not ignored.

    ``counts`` says whether a head's or loss's ignored label, given its path in
    the model and its value, has to be that of the padding.
    """
    padding = resizing.get_pad_value(pad_name, 255)
    others = [
        f'{path}.{name}={label}'.lstrip('.')
        for path, module in resizing.model.named_modules()
        for name, label in vars(module).items()
        if name in ('ignore_index', 'ignore_label')
        and counts(path, label)
        and label != padding
    ]
    if others:
        raise ValueError(
            "cannot pad a subnet's label map: model.data_preprocessor pads "
            f'with {pad_name}={padding}, which the losses would learn, as '
            f'they ignore another label: {", ".join(others)}. Set '
            f'{pad_name} and every ignore_index of the model to the same '
            f'label, or {NO_SIZES}'
        )
