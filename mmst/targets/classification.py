"""Samples of mmpretrain."""

from typing import Any

from .fields import ORIGIN, Resizing, keep, resize_fields
from .handler import SampleHandler, register_handler


@register_handler('mmpretrain.structures.data_sample.DataSample')
class ClassificationSamples(SampleHandler):
    """The class of an image does not change with its size or position."""

    is_positional = False
    kept_fields = ORIGIN | {
        'gt_label',
        'gt_score',
        'num_classes',
        # About the file or earlier transforms: no head reads them.
        'img_shape',
        'scale_factor',
        # Fields of images with text.
        'gt_answer_weight',
        'gt_text_id',
        'gt_image_id',
        'question_id',
        'is_matched',
    }

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize a sample that has other fields, too.

        Raises:
            TypeError: If a field is unknown: the masks of
                self-supervised models, boxes of visual grounding, ...
        """
        rules = dict.fromkeys(self.kept_fields, keep)
        return resize_fields(sample, resizing, rules)
