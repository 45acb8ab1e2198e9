"""Samples of mmpretrain."""

from typing import Any

from .fields import ORIGIN, keep, resize_fields
from .handler import SampleHandler, register_handler
from .resizing import Resizing

_RULES = dict.fromkeys(
    (
        'gt_label',
        'gt_score',
        'num_classes',
        # About the file or earlier transforms: no head reads them.
        'img_shape',
        'scale_factor',
        # Of images with text.
        'gt_answer_weight',
        'gt_text_id',
        'gt_image_id',
        'question_id',
        'is_matched',
    ),
    keep,
)
_KNOWN = frozenset((*_RULES, *ORIGIN))


@register_handler('mmpretrain.structures.data_sample.DataSample')
class ClassificationSamples(SampleHandler):
    """The class of an image does not change with its size or position."""

    is_positional = False

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Return the sample itself, if nothing in it depends on the size.

        Raises:
            TypeError: If a field is unknown: the masks of
                self-supervised models, boxes of visual grounding, ...
        """
        if _KNOWN.issuperset(sample.all_keys()):
            return sample  # no copy: batches have hundreds
        return resize_fields(sample, resizing, _RULES)

    def copy(self, sample: Any) -> Any:
        """Return the sample itself: no head writes into it."""
        return sample
