"""Samples of mmdet."""

from functools import partial
from math import ceil
from typing import Any, Dict, Sequence, Tuple

from torch import Tensor

from .fields import (
    SHAPES,
    FieldRule,
    Resizing,
    find_user_rule,
    keep,
    resize_fields,
)
from .handler import SampleHandler, register_handler
from .pixel_map import check_ignored, resize_label_map

_MAPS = (
    'gt_sem_seg.sem_seg',
    'gt_panoptic_seg.sem_seg',
    'gt_panoptic_seg.pan_seg',
    'gt_panoptic_seg.panoptic_seg',
)


@register_handler('mmdet.structures.det_data_sample.DetDataSample')
class DetectionSamples(SampleHandler):
    """Boxes, masks and maps shrink with their image."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize boxes, masks, maps and the shapes that heads read.

        An instance whose box is now one pixel or less, in width or height, is
        removed with its label and mask, as by mmdet's ``Resize`` followed by
        ``FilterAnnotations``. Instances that are as small in the main batch
        stay, as the pipeline left them there. If none would be left, the
        largest stays: mmdet's pipelines never train on images without
        instances, and some heads cannot.

        Raises:
            TypeError: If nothing says how a field shrinks.
            ValueError: If boxes are no corners, or a map is of another size
                than its image.
        """
        resize_map = partial(
            resize_label_map,
            pad_name='seg_pad_value',
            image_shape=sample.img_shape[:2],
        )
        rules: Dict[str, FieldRule] = {
            **_RULES,
            **dict.fromkeys(_MAPS, resize_map),
            'pad_shape': partial(
                _resize_pad_shape, image_shape=sample.img_shape[:2]
            ),
        }
        small = resize_fields(sample, resizing, rules)
        for name, least in (('gt_instances', 1), ('ignored_instances', 0)):
            old, new = sample.get(name, ()), small.get(name, ())
            # Boxes that shrink by a user's rule may be of any kind.
            if 'bboxes' in new and not find_user_rule(
                f'{name}.bboxes', old.bboxes
            ):
                visible = _find_visible(old.bboxes, new.bboxes, least)
                setattr(small, name, new[visible])
        return small

    def check_padding(self, sample: Any, resizing: Resizing) -> None:
        """Reject labels of maps that a semantic head does not ignore.

        Raises:
            ValueError: If the padding of a map would be learned.
        """
        if 'gt_sem_seg' in sample or 'gt_panoptic_seg' in sample:
            # Other heads learn from boxes and masks.
            check_ignored(
                resizing, 'seg_pad_value', lambda path, _: 'semantic' in path
            )


def _find_visible(old: Any, new: Any, least: int) -> Tensor:
    """Find the boxes that did not shrink to a pixel or less, (N, ).

    With ``least=1`` the largest one stays if no other is left.
    """
    was, now = _read_boxes(old), _read_boxes(new)
    large: Tensor = (now.widths > 1) & (now.heights > 1)
    visible = large | (was.widths <= 1) | (was.heights <= 1)
    if least and len(large) and not large.any():
        visible[now.areas.argmax()] = True
    return visible


def _read_boxes(boxes: Any) -> Any:
    """Read boxes by the interface of their type; a tensor's are corners."""
    from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes

    if isinstance(boxes, BaseBoxes):
        return boxes
    advice = (
        'set boxtype2tensor=False in model.data_preprocessor, which keeps '
        'the type of boxes, or register a rule with '
        "`mmst.targets.register_field('bboxes')`"
    )
    if boxes.shape[-1] != 4:
        raise TypeError(
            f'`bboxes` in a tensor of shape {tuple(boxes.shape)} are not '
            f'(x1, y1, x2, y2): {advice}'
        )
    inverted = (boxes[:, 2:] < boxes[:, :2]).any(-1)
    if inverted.any():
        raise ValueError(
            '`bboxes` in a tensor are not (x1, y1, x2, y2), as x2 < x1 or '
            f'y2 < y1 in {boxes[inverted][0].tolist()}: {advice}'
        )
    return HorizontalBoxes(boxes)


def _resize_boxes(boxes: Any, resizing: Resizing) -> Any:
    own = _read_boxes(boxes)
    # mmdet scales a tensor in place.
    small = own.clone()
    height, width = resizing.scale
    small.rescale_((width, height))
    return small if own is boxes else small.tensor


def _resize_masks(masks: Any, resizing: Resizing) -> Any:
    shape = masks.height, masks.width
    if shape != tuple(resizing.main_shape):
        # Image alone: the data preprocessor pads none, or not these.
        return masks.resize(resizing.resize_shape(shape))
    return masks.resize(resizing.resized_shape).pad(
        resizing.padded_shape,
        pad_val=resizing.get_pad_value('mask_pad_value', 0),
    )


_RULES: Dict[str, FieldRule] = {
    **SHAPES,
    'bboxes': _resize_boxes,
    'masks': _resize_masks,
    **dict.fromkeys(
        (
            'labels',
            'scores',
            'instances_ids',
            # Words of an instance, for models that read text.
            'positive_maps',
            'text_token_mask',
            'tokens_positive',
            # Semi-supervised models: from the image file to the main
            # batch, only used for pseudo labels.
            'homography_matrix',
            # For tests of corner detectors; no loss reads it.
            'border',
        ),
        keep,
    ),
}


def _resize_pad_shape(
    old: Sequence[int], resizing: Resizing, image_shape: Sequence[int]
) -> Tuple[int, ...]:
    def pad(shape: Sequence[int]) -> Tuple[int, ...]:
        return tuple(
            ceil(side / resizing.divisor) * resizing.divisor for side in shape
        )

    if tuple(old[:2]) == pad(image_shape):
        return pad(resizing.resize_shape(image_shape))
    return resizing.resize_shape(old)  # set by an augmentation of the batch
