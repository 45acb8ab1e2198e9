"""Samples of mmpose: top-down estimation of keypoints."""

from copy import copy
from functools import partial
from inspect import signature
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .fields import NO_SIZES, FieldRule, Resizing, Shape, keep, resize_fields
from .handler import SampleHandler, find_difference, register_handler

Array = NDArray[Any]

# Parts of a sample with targets: the codec's table of their names there.
_TARGETS = dict(
    gt_fields='field_mapping_table', gt_instance_labels='label_mapping_table'
)
_WEIGHTS = 'gt_instance_labels.keypoint_weights'


def _shrink(keypoints: Array, resizing: Resizing) -> Array:
    """Move keypoints, (N, K, 2 or 3), with the pixels they are in."""
    scale = np.array(resizing.scale[::-1])
    small = keypoints.copy()
    # (x + 0.5) * scale - 0.5, exact where the scale is 1.
    small[..., :2] = keypoints[..., :2] * scale + (scale - 1) / 2
    return small


_RULES: Dict[str, FieldRule] = {
    'input_size': lambda old, resizing: resizing.padded_shape[::-1],
    'pad_shape': lambda old, resizing: resizing.padded_shape,
    'batch_input_shape': lambda old, resizing: resizing.padded_shape,
    'transformed_keypoints': _shrink,
    # In pixels of the image file, as metrics need them, or independent of
    # the size.
    **dict.fromkeys(
        (
            'bboxes',
            'bbox_centers',
            'bbox_scales',
            'bbox_scores',
            'keypoints',
            'keypoints_cam',
            'keypoints_visible',
            'keypoints_visible_weights',
            'head_size',
            'areas',
            'crowd_index',
            'img_shape',
            'input_center',
            'input_scale',
            'raw_ann_info',
        ),
        keep,
    ),
}


@register_handler('mmpose.structures.pose_data_sample.PoseDataSample')
class PoseSamples(SampleHandler):
    """Keypoints shrink with their image, and are encoded again."""

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Shrink keypoints, and encode them for this size.

        Targets are encoded again as GenerateTarget does in the pipeline of
        ``resizing.dataset``, or as the head's decoder says if there is none,
        with the same sigma, for the padded input size; a resized heat-map
        would have another sigma. Keypoints are pixel centres, so they move as
        these do in the bilinear resize of the image: ``(x + 0.5) * scale -
        0.5``.

        Raises:
            ValueError: If the model is bottom-up, the sample lacks keypoints
                in the input's coordinates, or the data set has several
                encoders.
            TypeError: If the head runs at one size only, or the codec cannot
                encode all targets of the sample.
        """
        _check_model(resizing.model)
        codec = _find_encoder(resizing)
        keypoints = _get_keypoints(sample)
        rules = {
            **_RULES,
            **_make_target_rules(sample, resizing, codec, keypoints),
        }
        return resize_fields(sample, resizing, rules)

    def find_multiple(self, model: nn.Module) -> int:
        """Return 32 for models that learn heat-maps.

        The heat-map of an input of h x w px has h / stride x w / stride
        cells. A head that upsamples the last feature map returns this size
        only if no cell was rounded up: 110 px become 4 cells of stride 32, so
        32 cells of stride 4 instead of 27.5. So such inputs have whole cells.
        """
        codec = _find_decoder(getattr(model, 'head', None))
        # A head without a codec may learn those of the pipeline's encoder.
        makes_heatmaps = codec is None or hasattr(codec, 'heatmap_size')
        return 32 if makes_heatmaps else 1  # no backbone has a larger stride


def _make_target_rules(
    sample: Any, resizing: Resizing, codec: Any, keypoints: Array
) -> Dict[str, FieldRule]:
    visible = sample.gt_instances.keypoints_visible
    small = _shrink(keypoints, resizing)
    encoded = _encode(codec, resizing.padded_shape, small, visible)

    def weigh(old: Tensor, resizing: Resizing) -> Tensor:
        """Keep the factors by which the data set weighs joints."""
        new = _take(codec, encoded, _WEIGHTS, old)
        if torch.equal(new, old):
            return new
        again = _encode(codec, resizing.main_shape, keypoints, visible)
        main = _take(codec, again, _WEIGHTS, old)
        if torch.equal(main, old):  # no factors
            return new
        return new * torch.where(main > 0, old / main, torch.zeros_like(old))

    rules: Dict[str, FieldRule] = {
        f'{part}.{name}': partial(_take, codec, encoded, f'{part}.{name}')
        for part in _TARGETS
        if part in sample
        for name in sample.get(part).keys()
        if name not in _RULES
    }
    rules[_WEIGHTS] = weigh
    return rules


def _encode(
    codec: Any, shape: Shape, keypoints: Array, visible: Array
) -> Dict[str, Array]:
    """Encode keypoints for inputs of a shape (H, W), to targets by path."""
    from mmpose.datasets.transforms import PackPoseInputs

    height, width = shape
    encoded = resize_codec(codec, (width, height)).encode(keypoints, visible)
    return {
        f'{part}.{packed}': encoded[name]
        for part, table in _TARGETS.items()
        for name, packed in (
            getattr(codec, table) or getattr(PackPoseInputs, table)
        ).items()
        if name in encoded
    }


def _take(
    codec: Any, encoded: Dict[str, Array], path: str, old: Any, *_: Any
) -> Tensor:
    """Take a target that was encoded again, in the old one's type."""
    new = encoded.get(path)
    is_tensor = isinstance(old, Tensor)  # and no list, of several levels
    if new is None or not is_tensor or np.ndim(new) != old.ndim:
        raise TypeError(
            f'{_name(codec)} does not encode `{path}` as it is in the main '
            'batch: its subnets cannot get smaller inputs. Make it the one '
            "encoder of the pipeline's GenerateTarget and the decoder of "
            'model.head, register a rule with '
            f"`mmst.targets.register_field('{path}')`, or {NO_SIZES}"
        )
    return torch.as_tensor(new, dtype=old.dtype, device=old.device)


def resize_codec(codec: Any, input_size: Tuple[int, int]) -> Any:
    """Copy a codec for inputs of another size (w, h), in pixels.

    A heat-map keeps its stride; sigma and the rest do not change.
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
    names = signature(type(codec)).parameters
    lost = [name for name in names if not hasattr(codec, name)]
    if lost:
        raise TypeError(
            f'{_name(codec)} cannot be built for another input size, '
            f'as it does not keep its options {lost} as attributes: keep '
            f'them, or {NO_SIZES}'
        )
    options = {name: getattr(codec, name) for name in names}
    options['input_size'] = input_size
    if 'heatmap_size' in options:
        options['heatmap_size'] = tuple(
            new * cells // old
            for new, cells, old in zip(
                input_size, codec.heatmap_size, codec.input_size
            )
        )
    return type(codec)(**options)


def _check_model(model: nn.Module) -> None:
    """Reject models that cannot learn from smaller inputs."""
    from mmpose.models import BottomupPoseEstimator

    if isinstance(model, BottomupPoseEstimator):
        raise ValueError(
            'among pose models, top-down models alone can have subnets with '
            f'smaller inputs, but {_name(model)} is bottom-up: {NO_SIZES}'
        )
    # Layers over all cells of a feature map or heat-map of one size.
    if any(
        hasattr(part, attribute)
        for part in model.head.modules()
        for attribute in ('in_featuremap_size', 'heatmap_size')
    ):
        raise TypeError(
            f'{_name(model.head)} has layers for one input size: its '
            f'subnets cannot get smaller ones; {NO_SIZES}'
        )


def _get_keypoints(sample: Any) -> Array:
    """Get keypoints in pixels of the input, (N, K, 2 or 3)."""
    instances = sample.gt_instances
    if 'transformed_keypoints' not in instances:
        raise ValueError(
            "a subnet's targets and their weights are encoded again, by the "
            'encoder of GenerateTarget, from the keypoints in the input, '
            'which the samples do not hold: let the train pipeline, with '
            'TopdownAffine in it, end with '
            "dict(type='PackPoseInputs', pack_transformed=True). In a config "
            'that inherits the pipeline that is `train_dataloader = '
            'dict(dataset=dict(pipeline=[*_base_.train_dataloader.dataset.'
            "pipeline[:-1], dict(type='PackPoseInputs', "
            f'pack_transformed=True)]))`. Or {NO_SIZES}'
        )
    keypoints: Array = instances.transformed_keypoints
    return keypoints


def _iter_parts(dataset: Any) -> Iterator[Any]:
    """Iterate over a data set, the ones it wraps, and their transforms."""
    if isinstance(dataset, (list, tuple)):
        for part in dataset:
            yield from _iter_parts(part)
        return
    yield dataset
    for name in ('dataset', 'datasets', 'pipeline', 'transforms'):
        yield from _iter_parts(getattr(dataset, name, ()))


def _find_encoder(resizing: Resizing) -> Any:
    """Find the codec that made the targets: the pipeline's, or the head's."""
    from mmpose.datasets.transforms import GenerateTarget

    encoders = [
        part.encoder
        for part in _iter_parts(resizing.dataset)
        if isinstance(part, GenerateTarget)
    ]
    head = resizing.model.head
    codec, *others = encoders or [_find_decoder(head)]
    for other in others:
        difference = find_difference(codec, other)
        if difference is not None:
            raise ValueError(
                f'the data set has several encoders, {_name(codec)} and '
                f'{_name(other)}'
                + (f', which differ in {difference}' if difference else '')
                + ': samples do not tell which of them encodes a '
                "subnet's targets. Give every GenerateTarget the same "
                f'encoder, or {NO_SIZES}'
            )
    if codec is None:
        reason = (
            f"{_name(head)} has no codec to encode a subnet's targets: set "
            '`decoder` in model.head, or in the head that it wraps, to the '
            "codec of the pipeline's GenerateTarget"
        )
    elif isinstance(codec, list):
        reason = (
            'GenerateTarget has a list of encoders: targets of several '
            'encoders, or on several levels, cannot be encoded for smaller '
            'inputs. Give it one encoder that is no list'
        )
    elif codec.auxiliary_encode_keys:
        reason = (
            f'{_name(codec)} also needs '
            f'{sorted(codec.auxiliary_encode_keys)}, which samples do not '
            'hold at another size: choose another encoder'
        )
    else:
        return codec
    raise TypeError(f'{reason}, or {NO_SIZES}')


def _find_decoder(head: Optional[nn.Module]) -> Any:
    """Find the codec of a head, or of one in it, as of a VisPredictHead."""
    parts = head.modules() if head is not None else ()
    codecs = (getattr(part, 'decoder', None) for part in parts)
    return next((c for c in codecs if hasattr(c, 'encode')), None)


def _name(value: Any) -> str:
    return type(value).__name__
