"""Resize data samples with their images: one function per sample type.

A sample type joins by registering one function that returns a resized copy
and leaves the sample it was given, which is the main network's, alone.
"""
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

Shape = Tuple[int, int]
Resizer = Callable[[Any, Shape, Shape], Any]
_RESIZERS: Dict[str, Resizer] = {}


def register_resizer(sample_type: str) -> Callable[[Resizer], Resizer]:
    """Register how samples of one type are resized with their image.

    Args:
        sample_type: Full name of the class, such as
            ``mmpretrain.structures.data_sample.DataSample``. A name, so that
            the toolbox that owns it is not imported before it is used.
    """

    def register(resizer: Resizer) -> Resizer:
        _RESIZERS[sample_type] = resizer
        return resizer

    return register


def resize_samples(samples: Optional[Sequence[Any]], from_shape: Shape,
                   to_shape: Shape) -> Optional[List[Any]]:
    """Resize the annotations of a batch as its images were resized.

    Args:
        samples: The data samples of the main batch, or ``None``.
        from_shape: (H, W) of the main batch.
        to_shape: (H', W') of the subnet's batch.

    Raises:
        TypeError: If a sample's type is not registered.
    """
    if samples is None or from_shape == to_shape:
        return samples
    return [_resizer_of(s)(s, from_shape, to_shape) for s in samples]


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
        '`mmst.subnets.register_resizer`')


@register_resizer('mmpretrain.structures.data_sample.DataSample')
def resize_class_label(sample: Any, from_shape: Shape, to_shape: Shape) -> Any:
    """The class of an image does not change with its size."""
    return sample
