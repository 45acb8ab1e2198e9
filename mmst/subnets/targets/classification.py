"""Samples of mmpretrain."""

from typing import Any

from .registry import Resizing, register_resizer


@register_resizer('mmpretrain.structures.data_sample.DataSample')
def resize_class_label(sample: Any, resizing: Resizing) -> Any:
    """The class of an image does not change with its size."""
    return sample
