"""Batched input transforms for subnets (SITrans)."""

from typing import Optional, Sequence, Tuple, Union

import torch.nn.functional as F
from torch import Tensor

from .options import check_flag, check_list

Size = Optional[Union[int, float]]


def get_shorter_side(inputs: Tensor, size: Size) -> int:
    """Return the shorter side, in pixels, of a batch at a subnet's size.

    Args:
        inputs: The main batch, (N, C, H, W).
        size: Pixels (``int``), a fraction of the batch's shorter side
            (``float``) or ``None`` for the batch as it is.

    Example:
        >>> get_shorter_side(torch.zeros(1, 3, 32, 48), 0.5)
        16
    """
    side = min(inputs.shape[-2:])
    if size is None:
        return side
    if isinstance(size, float):
        return max(1, round(size * side))
    return size


def find_shape(
    inputs: Tensor, size: Size, multiple: int = 1
) -> Tuple[int, int]:
    """Find the height and width that :func:`resize_inputs` gives a batch."""
    if inputs.ndim != 4:
        raise ValueError(
            f'inputs of shape {tuple(inputs.shape)} cannot be resized: '
            'images, (N, C, H, W), can, but neither signals nor videos'
        )
    height, width = inputs.shape[-2:]
    new_side, side = get_shorter_side(inputs, size), min(height, width)
    if new_side == side:
        return height, width

    def scale(length: int) -> int:
        new_length = round(length * new_side / side)
        return max(1, round(new_length / multiple)) * multiple

    return scale(height), scale(width)


def resize_inputs(inputs: Tensor, size: Size, multiple: int = 1) -> Tensor:
    """Resize a batch to a shorter side, aspect kept, bilinear (Eq. 8).

    Args:
        inputs: Batch of images, (N, C, H, W).
        size: Shorter side, see :func:`get_shorter_side`.
        multiple: Number of which both sides become the nearest multiple,
            which may change the aspect.

    Returns:
        Tensor: (N, C, H', W') where ``min(H', W')`` is that size; the batch
        itself if it has this shape already.

    Raises:
        ValueError: If the inputs are not images.

    Example:
        >>> resize_inputs(torch.zeros(1, 3, 32, 48), 16).shape
        torch.Size([1, 3, 16, 24])
    """
    shape = find_shape(inputs, size, multiple)
    if shape == tuple(inputs.shape[-2:]):
        return inputs
    return F.interpolate(inputs, shape, mode='bilinear', align_corners=False)


def pad_inputs(inputs: Tensor, divisor: int, value: float = 0) -> Tensor:
    """Pad a batch to the right and the bottom.

    Args:
        inputs: Batch of images, (N, C, H, W).
        divisor: Height and width become multiples of this.
        value: Value of the padding.

    Example:
        >>> pad_inputs(torch.zeros(1, 3, 30, 48), 32).shape
        torch.Size([1, 3, 32, 64])
    """
    height, width = inputs.shape[-2:]
    right, bottom = -width % divisor, -height % divisor
    if right == bottom == 0:
        return inputs  # F.pad would copy it
    return F.pad(inputs, (0, right, 0, bottom), value=value)


TRANSFORMS = ('crop', 'flip', 'jitter', 'jitter_normalized', 'normalize')


def _transform(name: str, inputs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Apply a transform; mean and std are on the scale 0 to 1."""
    if name == 'normalize':
        return (inputs - mean) / std
    from torchvision import transforms  # only these need it

    if name == 'crop':
        shape = tuple(inputs.shape[-2:])
        return transforms.RandomResizedCrop(shape, antialias=False)(inputs)
    if name == 'flip':
        return transforms.RandomHorizontalFlip()(inputs)
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4)
    if name == 'jitter_normalized':
        # torchvision takes its input for pixels, and clamps it to 0 to 1.
        return jitter(inputs)
    # Jitter is defined on pixels: undo the normalisation, then redo it.
    return (jitter((inputs * std + mean).clamp(0, 1)) - mean) / std


class SubnetInputs:
    """Make subnets' inputs from the main input: resize, and more (Table 1).

    Args:
        transforms: Applied after resizing, for comparison: 'crop' (random
            resized crop to the same size), 'flip' (horizontal) and 'jitter'
            (brightness, contrast, saturation 0.4), each drawn once per batch.
            Two more as in the released code: 'normalize' (normalise the
            normalised input again) and 'jitter_normalized' (jitter the
            normalised input as if it were pixels, clamped to 0 to 1).
        chained: Whether each subnet's input is made from the previous
            subnet's instead of the main one, as in the released code.

    Raises:
        ValueError: If a transform is not known.

    Example:
        >>> SubnetInputs(['flip'])(torch.zeros(1, 3, 32, 48), 0.5).shape
        torch.Size([1, 3, 16, 24])
    """

    def __init__(
        self, transforms: Sequence[str] = (), chained: bool = False
    ) -> None:
        check_list('input_transforms', transforms, 'names of transforms')
        check_flag('chain_inputs', chained)
        for name in transforms:
            if name not in TRANSFORMS:
                raise ValueError(
                    f'input_transforms: {name!r} is not one of '
                    f'{list(TRANSFORMS)}'
                )
        self.transforms = tuple(transforms)
        self.chained = chained

    @property
    def are_alike(self) -> bool:
        """Whether inputs of the same size are identical."""
        return not (self.transforms or self.chained)

    def __call__(
        self,
        inputs: Tensor,
        size: Size,
        mean: Optional[Tensor] = None,
        std: Optional[Tensor] = None,
        multiple: int = 1,
    ) -> Tensor:
        """Make one subnet's input.

        Args:
            inputs: The main input, normalised, (N, C, H, W); the previous
                subnet's if ``chained``.
            size: Shorter side, see :func:`get_shorter_side`.
            mean: Mean with which the main input was normalised, (C, 1, 1), on
                the scale 0 to 255; default: zero.
            std: Standard deviation, in the same form; default: one.
            multiple: Divisor of sides, see :func:`resize_inputs`.
        """
        inputs = resize_inputs(inputs, size, multiple)
        if not self.transforms:
            return inputs
        mean = inputs.new_zeros(()) if mean is None else mean
        std = inputs.new_ones(()) if std is None else std
        for name in self.transforms:
            inputs = _transform(name, inputs, mean / 255, std / 255)
        return inputs
