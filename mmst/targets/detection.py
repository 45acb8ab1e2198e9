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

        As with mmdet's ``Resize`` followed by its ``FilterAnnotations``, an
        instance whose box is now one pixel or less, in width or height, is
        left out with its label and mask. Where that would leave an image none
        of its instances, the largest stays: with such images mmdet's
        pipelines never train, and some of its heads cannot.
        """
        small = resize_fields(
            sample,
            resizing,
            {**_RULES, **_map_rules(sample)},
            _resized_shapes(sample, resizing),
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
            resizing.pad_setting('seg_pad_value', 255),
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
    """Which boxes are more than a pixel, or else which ``least`` to keep."""
    if 'bboxes' not in instances or len(instances) == 0:
        return slice(None)
    boxes = _as_boxes(instances.bboxes)
    visible: Tensor = (boxes.widths > 1) & (boxes.heights > 1)
    if least and not visible.any():
        visible[boxes.areas.argmax()] = True
    return visible


def _as_boxes(boxes: Any) -> Any:
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
    own = _as_boxes(boxes)
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
        pad_val=resizing.pad_setting('mask_pad_value', 0),
    )


_RULES: Dict[str, FieldRule] = {
    'bboxes': _resize_boxes,
    'masks': _resize_masks,
    **dict.fromkeys(
        (
            'labels',
            'scores',
            'instances_ids',
            # Of models that read text: which words an instance is.
            'positive_maps',
            'text_token_mask',
            'tokens_positive',
            # Of semi-supervised ones: from the file to the main batch, which
            # only bring pseudo labels there.
            'homography_matrix',
            # Of corner detectors' tests; no loss reads it.
            'border',
        ),
        keep,
    ),
}


def _resized_shapes(sample: Any, resizing: Resizing) -> Dict[str, Any]:
    """What the data preprocessor would have said of the smaller image."""
    image_shape = resizing.image_shape(sample.img_shape[:2])
    shapes: Dict[str, Any] = dict(
        img_shape=image_shape,
        pad_shape=tuple(
            ceil(side / resizing.divisor) * resizing.divisor
            for side in image_shape
        ),
        batch_input_shape=resizing.padded_shape,
    )
    if 'scale_factor' in sample:
        shapes['scale_factor'] = resizing.scale_factor(sample.scale_factor)
    return shapes
