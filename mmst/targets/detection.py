"""Samples of mmdet."""

from math import ceil
from typing import Any, Dict, Union

from torch import Tensor

from .fields import FieldRule, keep, resize_fields
from .handler import SampleHandler, register_handler
from .pixel_map import resize_label_map
from .resizing import Resizing

# Which of the instances to keep: all, or a mask of them, (N, ).
Visible = Union[slice, Tensor]


@register_handler('mmdet.structures.det_data_sample.DetDataSample')
class DetectionSamples(SampleHandler):
    """Samples of mmdet."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize boxes, masks, maps and the shapes that heads read.

        As in mmdet's ``Resize`` followed by ``FilterAnnotations``, an instance
        whose box is now one pixel or less, in width or height, is removed with
        its label and mask. If none would be left, the largest stays: mmdet's
        pipelines never train on images without instances, and some heads
        cannot.
        """
        small = resize_fields(
            sample,
            resizing,
            {**_RULES, **_map_rules(sample)},
            _resize_shapes(sample, resizing),
        )
        if 'gt_instances' in small:
            visible = _find_visible(small.gt_instances)
            small.gt_instances = small.gt_instances[visible]
        if 'ignored_instances' in small:
            visible = _find_visible(small.ignored_instances, least=0)
            small.ignored_instances = small.ignored_instances[visible]
        return small


def _map_rules(sample: Any) -> Dict[str, FieldRule]:
    def resize(label_map: Tensor, resizing: Resizing) -> Tensor:
        return resize_label_map(
            label_map,
            resizing,
            resizing.get_pad_value('seg_pad_value', 255),
            sample.img_shape[:2],
        )

    return dict.fromkeys(
        (
            'gt_sem_seg.sem_seg',
            'gt_panoptic_seg.sem_seg',
            'gt_panoptic_seg.pan_seg',
            'gt_panoptic_seg.panoptic_seg',
        ),
        resize,
    )


def _find_visible(instances: Any, least: int = 1) -> Visible:
    """Find boxes larger than a pixel, or the largest if ``least`` is 1."""
    if 'bboxes' not in instances or len(instances) == 0:
        return slice(None)
    boxes = _convert_boxes(instances.bboxes)
    visible: Tensor = (boxes.widths > 1) & (boxes.heights > 1)
    if least and not visible.any():
        visible[boxes.areas.argmax()] = True
    return visible


def _convert_boxes(boxes: Any) -> Any:
    from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes

    if isinstance(boxes, BaseBoxes):
        return boxes
    if boxes.shape[-1] == 4:
        return HorizontalBoxes(boxes)
    raise TypeError(
        f'boxes in a tensor of shape {tuple(boxes.shape)} are not (x1, '
        'y1, x2, y2): set boxtype2tensor=False in model.data_preprocessor '
        'or register a resizer for your sample type'
    )


def _resize_boxes(boxes: Any, resizing: Resizing) -> Any:
    own = _convert_boxes(boxes)
    # mmdet scales a tensor in place.
    small = own.clone()
    height, width = resizing.scale
    small.rescale_((width, height))
    return small if own is boxes else small.tensor


def _resize_masks(masks: Any, resizing: Resizing) -> Any:
    if (masks.height, masks.width) != tuple(resizing.main_shape):
        masks = masks.pad(resizing.main_shape)
    return masks.resize(resizing.resized_shape).pad(
        resizing.padded_shape,
        pad_val=resizing.get_pad_value('mask_pad_value', 0),
    )


_RULES: Dict[str, FieldRule] = {
    'bboxes': _resize_boxes,
    'masks': _resize_masks,
    **dict.fromkeys(
        (
            'labels',
            'scores',
            'instances_ids',
            # Of models that read text: the words of an instance.
            'positive_maps',
            'text_token_mask',
            'tokens_positive',
            # Of semi-supervised models: from the image file to the main
            # batch, only used for pseudo labels.
            'homography_matrix',
            # For tests of corner detectors; no loss reads it.
            'border',
        ),
        keep,
    ),
}


def _resize_shapes(sample: Any, resizing: Resizing) -> Dict[str, Any]:
    """Compute the shapes that the data preprocessor would set."""
    image_shape = resizing.resize_shape(sample.img_shape[:2])
    shapes: Dict[str, Any] = dict(
        img_shape=image_shape,
        pad_shape=tuple(
            ceil(side / resizing.divisor) * resizing.divisor
            for side in image_shape
        ),
        batch_input_shape=resizing.padded_shape,
    )
    if 'scale_factor' in sample:
        shapes['scale_factor'] = resizing.update_scale_factor(
            sample.scale_factor
        )
    return shapes
