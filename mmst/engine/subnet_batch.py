"""The main batch as a subnet gets it: smaller, its annotations alike."""

from math import gcd
from typing import Any, Tuple

from mmengine.structures import BaseDataElement
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from mmst.subnets import (
    Resizing,
    Subnet,
    SubnetInputs,
    pad_inputs,
    resize_samples,
)
from mmst.subnets.targets.pose import input_multiple


def own_samples(data: Any, model: nn.Module) -> Any:
    """The batch with samples that a pass may write into.

    The losses of some heads do: mmdet's for instance masks put padded masks
    into the samples they are given. Tensors are shared, and no head of the
    toolboxes writes into these; classifiers' heads write into neither.
    """
    samples = data.get('data_samples') if isinstance(data, dict) else None
    if not isinstance(samples, list) or isinstance(model, BaseClassifier):
        return data
    return dict(data, data_samples=[_own(sample) for sample in samples])


def _own(element: Any) -> Any:
    if not isinstance(element, BaseDataElement):
        return element
    own = element.clone()
    for name, value in element.items():
        if isinstance(value, BaseDataElement):
            setattr(own, name, _own(value))
    return own


def subnet_batch(
    data: Any, subnet: Subnet, subnet_inputs: SubnetInputs, model: nn.Module
) -> Any:
    """The main batch, preprocessed, as a subnet gets it.

    A batch that is made smaller is padded like the main one, to the size
    divisor of the data preprocessor, but not to a fixed size that the main
    batch is padded to.

    Args:
        data: ``inputs``, (N, C, H, W), and ``data_samples``. Neither is
            changed.
        subnet: The subnet.
        subnet_inputs: What makes its input of the main one.
        model: The model, whose ``data_preprocessor`` normalised and padded.

    Raises:
        TypeError: If the inputs are not one batch of images, or the samples
            are of a type that cannot be resized.
        ValueError: If a sample lacks what its resizing needs.
    """
    if subnet.size is None and not subnet_inputs.transforms:
        return data
    inputs = _image_batch(data)
    mean, std = (
        getattr(model.data_preprocessor, name, None)
        for name in ('mean', 'std')
    )
    small = subnet_inputs(inputs, subnet.size, mean, std)
    if small.shape == inputs.shape:
        return dict(data, inputs=small)
    divisor, pad_value = padding(model)
    padded = pad_inputs(small, divisor, pad_value)
    resizing = Resizing(
        _shape(inputs), _shape(small), _shape(padded), divisor, model
    )
    return dict(
        data,
        inputs=padded,
        data_samples=resize_samples(data.get('data_samples'), resizing),
    )


def _image_batch(data: Any) -> Tensor:
    inputs = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise TypeError(
            'cannot give a subnet another input: the data preprocessor gives '
            'no (N, C, H, W) tensor as `inputs`. Set neither `size_range` nor '
            '`sizes` in SubnetSamplerHook, nor `input_transforms` in '
            'train_cfg'
        )
    return inputs


def _shape(images: Tensor) -> Tuple[int, int]:
    height, width = images.shape[-2:]
    return height, width


def padding(model: nn.Module) -> Tuple[int, float]:
    """What the sides of inputs are multiples of, and what fills them up."""
    preprocessor = model.data_preprocessor
    # mmseg has its own names; and `None` there for a fixed size.
    divisor = (
        getattr(preprocessor, 'pad_size_divisor', None)
        or getattr(preprocessor, 'size_divisor', None)
        or 1
    )
    multiple = input_multiple(model)
    value = getattr(
        preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)
    )
    return divisor * multiple // gcd(divisor, multiple), value
