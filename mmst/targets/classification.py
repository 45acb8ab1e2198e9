"""Samples of mmpretrain."""

from typing import Any

from .handler import SampleHandler, register_handler
from .resizing import Resizing


@register_handler('mmpretrain.structures.data_sample.DataSample')
class ClassificationSamples(SampleHandler):
    """The class of an image does not change with its size or position."""

    is_positional = False

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Give the sample itself: nothing in it depends on the size."""
        return sample

    def copy(self, sample: Any) -> Any:
        """Give the sample itself: no head writes into it."""
        return sample
