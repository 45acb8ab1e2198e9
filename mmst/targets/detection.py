"""Samples of mmdet."""

from math import ceil
from typing import Any, Dict, Tuple, Union

from torch import Tensor

from .handler import SampleHandler, register_handler
from .pixel_map import resize_pixel_data
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
        left out with its label and mask.
        """
        small = sample.clone()
        for name in ('gt_instances', 'ignored_instances'):
            if name in sample:
                instances, visible = _resize_instances(
                    sample.get(name), resizing
                )
                setattr(small, name, instances[visible])
        if 'proposals' in sample:
            small.proposals, _ = _resize_instances(sample.proposals, resizing)
        pad_value = resizing.pad_setting('seg_pad_value', 255)
        for name in ('gt_sem_seg', 'gt_panoptic_seg'):
            if name in sample:
                setattr(
                    small,
                    name,
                    resize_pixel_data(
                        sample.get(name),
                        resizing,
                        sample.img_shape[:2],
                        pad_value,
                    ),
                )
        small.set_metainfo(_resized_shapes(sample, resizing))
        return small


def _resize_instances(
    instances: Any, resizing: Resizing
) -> Tuple[Any, Visible]:
    """Resized copies of all instances, and which are more than a pixel."""
    small = instances.clone()
    visible: Visible = slice(None)
    if 'bboxes' in instances:
        small.bboxes, visible = _resize_boxes(instances.bboxes, resizing)
    if 'masks' in instances:
        small.masks = _resize_masks(instances.masks, resizing)
    return small, visible


def _resize_boxes(boxes: Any, resizing: Resizing) -> Tuple[Any, Tensor]:
    from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes

    if isinstance(boxes, BaseBoxes):
        small = boxes.clone()
    elif boxes.shape[-1] == 4:
        small = HorizontalBoxes(boxes)
    else:
        raise TypeError(
            f'boxes in a tensor of shape {tuple(boxes.shape)} are not (x1, '
            'y1, x2, y2): set boxtype2tensor=False in model.data_preprocessor '
            'or register a resizer for your sample type'
        )
    height, width = resizing.scale
    small.rescale_((width, height))
    visible = (small.widths > 1) & (small.heights > 1)
    return (small if isinstance(boxes, BaseBoxes) else small.tensor), visible


def _resize_masks(masks: Any, resizing: Resizing) -> Any:
    if (masks.height, masks.width) != tuple(resizing.main_shape):
        masks = masks.pad(resizing.main_shape)
    return masks.resize(resizing.resized_shape).pad(
        resizing.padded_shape,
        pad_val=resizing.pad_setting('mask_pad_value', 0),
    )


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
