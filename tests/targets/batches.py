"""Batches for subnets, made by resizing and padding alone."""

from typing import Any

import torch.nn.functional as F
from torch import nn

from mmst.subnets import pad_inputs, resize_inputs
from mmst.targets import Resizing, find_handler, resize_samples


def identity(data: dict, model: nn.Module, dataset: Any = None) -> Resizing:
    """A resizing that leaves the main batch as large as it is."""
    shape = tuple(data['inputs'].shape[-2:])
    return Resizing(shape, shape, shape, find_divisor(model), model, dataset)


def find_divisor(model: nn.Module) -> int:
    """The divisor to which the model's data preprocessor pads."""
    names = 'pad_size_divisor', 'size_divisor'
    values = (getattr(model.data_preprocessor, name, None) for name in names)
    return next((value for value in values if value), 1)


def shrunk(
    data: dict, size: Any, model: nn.Module, dataset: Any = None
) -> dict:
    """The batch of a subnet, resized to a shorter side or a fraction.

    Where the main batch is padded it is too; elsewhere the handler's multiple
    is reached by the resizing.
    """
    inputs, divisor = data['inputs'], find_divisor(model)
    small = resize_inputs(inputs, size)
    if divisor == 1:
        multiple = find_handler(data['data_samples'][0]).find_multiple(model)
        shape = [side + -side % multiple for side in small.shape[-2:]]
        small = F.interpolate(inputs, shape, mode='bilinear')
    preprocessor = model.data_preprocessor
    value = getattr(preprocessor, 'pad_val', None)
    value = getattr(preprocessor, 'pad_value', 0) if value is None else value
    padded = pad_inputs(small, divisor, value)
    shapes = (tuple(x.shape[-2:]) for x in (inputs, small, padded))
    resizing = Resizing(*shapes, divisor, model, dataset)
    return dict(
        inputs=padded,
        data_samples=resize_samples(data['data_samples'], resizing),
    )
