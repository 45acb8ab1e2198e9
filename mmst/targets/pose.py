"""Samples of mmpose: top-down estimation of keypoints."""

from copy import copy
from inspect import signature
from typing import Any, Dict, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .dataset_parts import iter_parts
from .fields import FieldRule, keep, resize_fields
from .handler import SampleHandler, register_handler
from .resizing import Resizing

Array = NDArray[Any]

# A multiple of every backbone's stride, so that feature maps have whole cells.
FEATURE_STRIDE = 32

# In pixels of the image file, as metrics need them, or independent of size.
_KEPT: Dict[str, FieldRule] = dict.fromkeys(
    (
        'bboxes',
        'bbox_centers',
        'bbox_scales',
        'bbox_scores',
        'keypoints',
        'keypoints_cam',
        'keypoints_visible',
        'head_size',
        'areas',
        'crowd_index',
        'img_shape',
        'input_center',
        'input_scale',
        'raw_ann_info',
    ),
    keep,
)


@register_handler('mmpose.structures.pose_data_sample.PoseDataSample')
class PoseSamples(SampleHandler):
    """Samples of mmpose."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Shrink keypoints, and encode them for this size.

        Targets are encoded again with the head's codec, with the same sigma,
        for the padded input size; a resized heat-map would have another sigma.
        Keypoints are pixel centres, so they move as these do in the bilinear
        resize of the image: ``(x + 0.5) * scale - 0.5``.

        Raises:
            ValueError: If the sample lacks keypoints in the input's
                coordinates.
            TypeError: If the head runs at one size only, or the codec cannot
                encode all targets of the sample.
        """
        codec = _get_codec(resizing.model.head)
        instances = sample.gt_instances
        if 'transformed_keypoints' not in instances:
            raise ValueError(
                "a subnet's targets are encoded again from the keypoints in "
                'the input, which the samples do not hold: set '
                "dict(type='PackPoseInputs', pack_transformed=True) at the "
                'end of the train pipeline, which needs TopdownAffine before '
                'it'
            )
        keypoints = _shrink(instances.transformed_keypoints, resizing)
        height, width = resizing.padded_shape
        encoded = resize_codec(codec, (width, height)).encode(
            keypoints, instances.keypoints_visible
        )
        rules: Dict[str, FieldRule] = dict(
            _KEPT,
            transformed_keypoints=lambda old, _: keypoints,
            gt_fields=lambda old, _: _encode_fields(old, codec, encoded),
            gt_instance_labels=lambda old, _: _encode_labels(
                old, codec, encoded
            ),
        )
        shapes = dict(
            input_size=(width, height),
            pad_shape=resizing.padded_shape,
            batch_input_shape=resizing.padded_shape,
        )
        return resize_fields(sample, resizing, rules, shapes)

    def find_multiple(self, model: nn.Module) -> int:
        """Return 32 for models that learn heat-maps.

        The heat-map of an input of h x w px has h / stride x w / stride
        cells. A head that upsamples the last feature map returns this size
        only if no cell was rounded up: 110 px become 4 cells of stride 32, so
        32 cells of stride 4 instead of 27.5. So such inputs are padded to
        whole cells.
        """
        codec = _find_codec(getattr(model, 'head', None))
        return FEATURE_STRIDE if hasattr(codec, 'heatmap_size') else 1

    def prepare_dataset(self, dataset: Any) -> None:
        """Make pipelines pack the keypoints in the input's coordinates.

        A subnet's targets are encoded from these, but mmpose packs them only
        with ``pack_transformed=True`` in ``PackPoseInputs``. The main network
        and metrics do not read them.
        """
        for part in iter_parts(dataset):
            if hasattr(part, 'pack_transformed'):
                part.pack_transformed = True


def resize_codec(codec: Any, input_size: Tuple[int, int]) -> Any:
    """Copy a codec for inputs of another size.

    A heat-map keeps its stride; sigma and the rest do not change.

    Args:
        codec: A codec of mmpose; not changed.
        input_size: (w, h) in pixels, multiples of the heat-map's stride.
    """
    from mmpose.codecs.base import BaseKeypointCodec

    parts = {
        name: resize_codec(part, input_size)
        for name, part in vars(codec).items()
        if isinstance(part, BaseKeypointCodec)
    }
    if parts:  # of several codecs, such as IntegralRegressionLabel
        small = copy(codec)
        vars(small).update(parts)
        return small
    options = {
        name: getattr(codec, name)
        for name in signature(type(codec)).parameters
    }
    options['input_size'] = input_size
    if 'heatmap_size' in options:
        options['heatmap_size'] = tuple(
            new * cells // old
            for new, cells, old in zip(
                input_size, codec.heatmap_size, codec.input_size
            )
        )
    return type(codec)(**options)


def _find_codec(head: Optional[nn.Module]) -> Any:
    """Find the codec of a head, or else of the head that it wraps.

    mmpose's VisPredictHead itself has none.
    """
    parts = head.modules() if head is not None else ()
    codecs = (getattr(part, 'decoder', None) for part in parts)
    return next((c for c in codecs if hasattr(c, 'encode')), None)


def _get_codec(head: nn.Module) -> Any:
    """Get the head's codec; refuse it if it cannot make smaller targets."""
    name = type(head).__name__
    # Layers over all cells of a feature map or heat-map of one size.
    if any(
        hasattr(part, attribute)
        for part in head.modules()
        for attribute in ('in_featuremap_size', 'heatmap_size')
    ):
        raise TypeError(
            f'{name} has layers for one input size: its subnets cannot get '
            'smaller ones. Set neither `size_range` nor `sizes` in '
            'SubnetSamplerHook'
        )
    codec = _find_codec(head)
    if codec is None:
        raise TypeError(
            f"{name} has no codec to encode a subnet's targets: set "
            '`decoder` in model.head, or in the head that it wraps, to the '
            "codec of the pipeline's "
            'GenerateTarget, or set neither `size_range` nor `sizes` in '
            'SubnetSamplerHook'
        )
    if codec.auxiliary_encode_keys:
        raise TypeError(
            f'{type(codec).__name__} also needs '
            f'{sorted(codec.auxiliary_encode_keys)}, which samples do not '
            'hold at another size: set neither `size_range` nor `sizes` in '
            'SubnetSamplerHook'
        )
    return codec


def _shrink(keypoints: Array, resizing: Resizing) -> Array:
    """Move keypoints, (N, K, 2 or 3), with the pixels they are in."""
    height, width = resizing.scale
    small = keypoints.copy()
    small[..., :2] = (keypoints[..., :2] + 0.5) * (width, height) - 0.5
    return small


def _encode_labels(labels: Any, codec: Any, encoded: Dict[str, Array]) -> Any:
    from mmpose.datasets.transforms import PackPoseInputs

    small = labels.clone()
    names = {
        packed: name
        for name, packed in (
            codec.label_mapping_table or PackPoseInputs.label_mapping_table
        ).items()
    }
    for packed, old in labels.items():
        if packed == 'keypoints_visible_weights':
            continue  # of the annotation, not of the codec
        new = _get_encoded(codec, encoded, names.get(packed), packed, old)
        if packed == 'keypoint_weights':
            # A visible joint's weight may have the data set's own factor.
            new = torch.where((new > 0) & (old > 0), old, new)
        small.set_field(new, packed)
    return small


def _encode_fields(fields: Any, codec: Any, encoded: Dict[str, Array]) -> Any:
    from mmengine.structures import PixelData
    from mmpose.datasets.transforms import PackPoseInputs

    if not isinstance(fields, PixelData):
        raise TypeError(
            'targets on several levels each need a codec, but the model has '
            f'only {type(codec).__name__}: its subnets cannot get smaller '
            'inputs. Set neither `size_range` nor `sizes` in '
            'SubnetSamplerHook'
        )
    names = {
        packed: name
        for name, packed in (
            codec.field_mapping_table or PackPoseInputs.field_mapping_table
        ).items()
    }
    return PixelData(
        **{
            packed: _get_encoded(
                codec, encoded, names.get(packed), packed, old
            )
            for packed, old in fields.items()
        }
    )


def _get_encoded(
    codec: Any,
    encoded: Dict[str, Array],
    name: Any,
    packed: str,
    old: Tensor,
) -> Tensor:
    """Get the new value of a target, of the same type as the old one."""
    new = encoded.get(name)
    if new is None or np.ndim(new) != old.ndim:
        raise TypeError(
            f'{type(codec).__name__}, the codec of model.head, does not '
            f"encode `{packed}` as the pipeline's GenerateTarget did: its "
            'subnets cannot get smaller inputs. Set neither `size_range` nor '
            '`sizes` in SubnetSamplerHook'
        )
    return torch.as_tensor(new, dtype=old.dtype, device=old.device)
