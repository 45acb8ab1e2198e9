"""What a data sample holds, as plain data that can be compared later."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement


def snapshot(value: Any) -> Any:
    """A deep copy of a sample, or of anything in it, as plain data."""
    if isinstance(value, BaseDataElement):
        return dict(
            type=type(value).__name__,
            meta=snapshot(value.metainfo),
            data={name: snapshot(item) for name, item in value.items()},
        )
    if isinstance(value, dict):
        return {name: snapshot(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [snapshot(item) for item in value]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return deepcopy(value)
    if hasattr(value, 'masks'):
        return dict(
            type=type(value).__name__,
            shape=[value.height, value.width],
            masks=snapshot(value.masks),
        )
    if hasattr(value, 'tensor'):
        return dict(type=type(value).__name__, tensor=value.tensor.clone())
    return value.item() if isinstance(value, np.generic) else value


def assert_same(one: Any, other: Any, atol: float = 0, path: str = '') -> None:
    """Assert that two snapshots agree; numbers up to ``atol``."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert sorted(one) == sorted(other), path
        for name in one:
            assert_same(one[name], other[name], atol, f'{path}.{name}')
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, pair in enumerate(zip(one, other)):
            assert_same(*pair, atol, f'{path}[{i}]')
    elif isinstance(one, (torch.Tensor, np.ndarray)):
        assert one.dtype == other.dtype and one.shape == other.shape, path
        np.testing.assert_allclose(
            np.asarray(one), np.asarray(other), rtol=0, atol=atol, err_msg=path
        )
    elif isinstance(one, float):
        assert abs(one - other) <= max(atol, 1e-6), path
    else:
        assert one == other, path
