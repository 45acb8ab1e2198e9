"""Batches for subnets, made by resizing and padding alone."""

from typing import Any

from torch import nn

from mmst.engine.batch import PassBatches
from mmst.subnets import Subnet, SubnetInputs
from mmst.targets import Resizing


def shrunk(
    data: dict, size: Any, model: nn.Module, dataset: Any = None
) -> dict:
    """The batch of a subnet, resized to a shorter side or a fraction."""
    batches = PassBatches(data, SubnetInputs(), model, dataset)
    return batches.make(Subnet.ordered((1,), (1,), size))


def identity(data: dict, model: nn.Module, dataset: Any = None) -> Resizing:
    """A resizing that leaves the main batch as large as it is."""
    shape = tuple(data['inputs'].shape[-2:])
    names = 'pad_size_divisor', 'size_divisor'
    values = (getattr(model.data_preprocessor, name, None) for name in names)
    divisor = next((value for value in values if value), 1)
    return Resizing(shape, shape, shape, divisor, model, dataset)
