"""Which function resizes which type of data sample."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from torch import nn

Shape = Tuple[int, int]


@dataclass(frozen=True)
class Resizing:
    """How a subnet's batch was made of the main one.

    The whole batch was resized, the padding around its smaller images
    included, and then padded to the right and the bottom.

    Attributes:
        main_shape: (H, W) of the main batch.
        resized_shape: (H, W) that it was resized to.
        padded_shape: (H, W) of the subnet's batch.
        divisor: What the sides of ``padded_shape`` are multiples of.
        model: The model: its ``data_preprocessor`` knows what to pad with,
            its heads may know more.
    """

    main_shape: Shape
    resized_shape: Shape
    padded_shape: Shape
    divisor: int
    model: nn.Module

    @property
    def scale(self) -> Tuple[float, float]:
        """New height over old, new width over old."""
        height, width = (
            new / old for new, old in zip(self.resized_shape, self.main_shape)
        )
        return height, width

    def image_shape(self, shape: Sequence[int]) -> Shape:
        """(H, W) to which an image of the main batch, given alike, shrank."""
        height, width = (
            max(1, round(side * factor))
            for side, factor in zip(shape, self.scale)
        )
        return height, width

    def scale_factor(self, old: Sequence[float]) -> Tuple[float, float]:
        """(w, h) factors since the image file, given those of before."""
        height, width = self.scale
        return old[0] * width, old[1] * height

    def pad_setting(self, name: str, default: float) -> float:
        """What the model's data preprocessor pads one kind of data with."""
        return getattr(self.model.data_preprocessor, name, default)


Resizer = Callable[[Any, Resizing], Any]
_RESIZERS: Dict[str, Resizer] = {}


def register_resizer(sample_type: str) -> Callable[[Resizer], Resizer]:
    """Register how samples of one type are resized with their image.

    The registered function gets the main network's sample and a
    :class:`Resizing`. It returns a new sample and leaves the one it was
    given, and every tensor in it, alone.

    Args:
        sample_type: Full name of the class, such as
            ``mmpretrain.structures.data_sample.DataSample``. A name, so that
            the toolbox that owns it is not imported before it is used.
    """

    def register(resizer: Resizer) -> Resizer:
        _RESIZERS[sample_type] = resizer
        return resizer

    return register


def resize_samples(
    samples: Optional[Sequence[Any]], resizing: Resizing
) -> Optional[List[Any]]:
    """Resize the annotations of a batch as its images were resized.

    Args:
        samples: The data samples of the main batch, or ``None``.
        resizing: What was done to the images.

    Raises:
        TypeError: If a sample's type is not registered.
    """
    if samples is None:
        return None
    return [_resizer_of(sample)(sample, resizing) for sample in samples]


def _resizer_of(sample: Any) -> Resizer:
    for cls in type(sample).__mro__:
        name = f'{cls.__module__}.{cls.__qualname__}'
        if name in _RESIZERS:
            return _RESIZERS[name]
    raise TypeError(
        f'cannot give a subnet a smaller input: {type(sample).__module__}.'
        f'{type(sample).__qualname__} has no resizer. Known: '
        f'{", ".join(_RESIZERS)}. Set neither `size_range` nor `sizes` in '
        'SubnetSamplerHook, or register one with '
        '`mmst.subnets.register_resizer`'
    )
