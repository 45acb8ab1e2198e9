"""Batches for subnets, made by resizing and padding alone."""

from typing import Any, Callable, List

from mmengine.dataset import pseudo_collate
from torch import nn

from mmst.engine.batch import PassBatches
from mmst.subnets import Subnet, SubnetInputs
from mmst.targets import Resizing


def make_model(data_preprocessor: Any, **parts: nn.Module) -> nn.Module:
    """The parts of a model that make a subnet's batch."""
    model = nn.Module()
    model.data_preprocessor = data_preprocessor
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def packed(results: List[dict], pack: Callable, preprocess: Callable) -> dict:
    """A batch as the model gets it in training."""
    return preprocess(pseudo_collate([pack(item) for item in results]), True)


def resized(results: dict, shape: tuple, resize: Callable) -> dict:
    """What a toolbox's own Resize makes of an image (h, w) and the rest."""
    old = results['scale_factor']
    results = resize(scale=shape[::-1])(results)
    factors = zip(old, results['scale_factor'])
    return dict(results, scale_factor=tuple(a * b for a, b in factors))


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
