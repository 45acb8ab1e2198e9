"""Samples of mmsegmentation."""

from typing import Any, Dict

from torch import Tensor

from .fields import resize_fields
from .handler import SampleHandler, register_handler
from .pixel_map import resize_label_map
from .resizing import Resizing


@register_handler('mmseg.structures.seg_data_sample.SegDataSample')
class SegmentationSamples(SampleHandler):
    """Samples of mmsegmentation."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize label, edge and depth maps to the nearest pixel.

        As in mmseg's ``Resize``, depths keep their values. All three are
        padded with the data preprocessor's ``seg_pad_val``, as in the main
        batch.
        """
        image_shape = sample.metainfo.get('img_shape', resizing.main_shape)[:2]

        def resize_map(label_map: Tensor, resizing: Resizing) -> Tensor:
            return resize_label_map(
                label_map,
                resizing,
                resizing.get_pad_value('seg_pad_val', 255),
                image_shape,
            )

        rules = dict.fromkeys(
            ('gt_sem_seg.data', 'gt_edge_map.data', 'gt_depth_map.data'),
            resize_map,
        )
        height, width = resizing.resize_shape(image_shape)
        padded_height, padded_width = resizing.padded_shape
        shapes: Dict[str, Any] = dict(
            img_shape=(height, width),
            pad_shape=resizing.padded_shape,
            padding_size=(
                0,
                padded_width - width,
                0,
                padded_height - height,
            ),
        )
        if 'scale_factor' in sample:
            shapes['scale_factor'] = resizing.update_scale_factor(
                sample.scale_factor
            )
        return resize_fields(sample, resizing, rules, shapes)
