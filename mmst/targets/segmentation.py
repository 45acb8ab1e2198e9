"""Samples of mmsegmentation."""

from typing import Any

from .handler import SampleHandler, register_handler
from .pixel_map import resize_pixel_data
from .resizing import Resizing


@register_handler('mmseg.structures.seg_data_sample.SegDataSample')
class SegmentationSamples(SampleHandler):
    """Samples of mmsegmentation."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize label, edge and depth maps to the nearest pixel.

        As in mmseg's ``Resize``, depths keep their values. Padding gets the
        data preprocessor's ``seg_pad_val`` in all three, as in the main batch.
        """
        pad_value = resizing.pad_setting('seg_pad_val', 255)
        image_shape = sample.metainfo.get('img_shape', resizing.main_shape)[:2]
        small = sample.clone()
        for name in ('gt_sem_seg', 'gt_edge_map', 'gt_depth_map'):
            if name in sample:
                setattr(
                    small,
                    name,
                    resize_pixel_data(
                        sample.get(name), resizing, image_shape, pad_value
                    ),
                )
        height, width = resizing.image_shape(image_shape)
        padded_height, padded_width = resizing.padded_shape
        small.set_metainfo(
            dict(
                img_shape=(height, width),
                pad_shape=resizing.padded_shape,
                padding_size=(
                    0,
                    padded_width - width,
                    0,
                    padded_height - height,
                ),
            )
        )
        if 'scale_factor' in sample:
            small.set_metainfo(
                dict(scale_factor=resizing.scale_factor(sample.scale_factor))
            )
        return small
