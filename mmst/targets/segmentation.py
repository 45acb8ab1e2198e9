"""Samples of mmsegmentation."""

from functools import partial
from typing import Any, Dict

from .fields import NO_SIZES, SHAPES, FieldRule, Resizing, resize_fields
from .handler import SampleHandler, register_handler
from .pixel_map import check_ignored, resize_label_map


@register_handler('mmseg.structures.seg_data_sample.SegDataSample')
class SegmentationSamples(SampleHandler):
    """Samples of mmsegmentation."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize label, edge and depth maps to the nearest pixel.

        Depths keep their values, as in mmseg's ``Resize``. All three are
        padded with the data preprocessor's ``seg_pad_val``, as in the main
        batch.
        """
        image_shape = sample.metainfo.get('img_shape', resizing.main_shape)[:2]
        height, width = resizing.resize_shape(image_shape)
        padded_height, padded_width = resizing.padded_shape
        padding = 0, padded_width - width, 0, padded_height - height
        resize_map = partial(
            resize_label_map, pad_name='seg_pad_val', image_shape=image_shape
        )
        rules: Dict[str, FieldRule] = {
            **SHAPES,
            # mmseg says None of samples without a map.
            'pad_shape': lambda old, _: old and resizing.padded_shape,
            'padding_size': lambda *_: padding,
            'gt_sem_seg.data': resize_map,
            'gt_edge_map.data': resize_map,
            'gt_depth_map.data': resize_map,
        }
        return resize_fields(sample, resizing, rules)

    def check_padding(self, sample: Any, resizing: Resizing) -> None:
        """Reject depths, and labels that a head or loss does not ignore.

        Raises:
            ValueError: If the padding of a map would be learned.
        """
        if 'gt_depth_map' in sample:
            raise ValueError(
                "cannot pad a subnet's `gt_depth_map`: there is no depth that "
                'losses ignore. Choose `sizes` in SubnetSamplerHook with '
                'which both sides of the images become multiples of '
                f'{resizing.divisor}, or set `size` in '
                'model.data_preprocessor to the size of the images in place '
                f'of `size_divisor`, or {NO_SIZES}'
            )
        if 'gt_sem_seg' in sample:
            # Losses without a label of their own are given their head's.
            check_ignored(
                resizing, 'seg_pad_val', lambda _, label: label is not None
            )
