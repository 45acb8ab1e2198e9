"""Compute a model's outputs, and compare those of two models."""

import copy
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor, nn

from mmst.evaluation import preprocess_unmixed
from mmst.subnets.cost import iter_tensors

TOLERANCE = 1e-6


@torch.no_grad()
def compute_outputs(model: nn.Module, data: Dict[str, Any]) -> List[Tensor]:
    """Compute a model's outputs in evaluation mode, before decoding.

    Args:
        model: A model of MMEngine; stays in evaluation mode.
        data: A training batch from the data loader; not changed.

    Raises:
        ValueError: If the model returns no tensor.
    """
    model.eval()
    # Some preprocessors write into their data samples.
    inputs = preprocess_unmixed(model, copy.deepcopy(data))
    outputs = list(iter_tensors(model._run_forward(inputs, mode='tensor')))
    if not outputs:
        raise ValueError(
            f'{type(model).__name__} returns no tensor to compare in '
            "mode='tensor'"
        )
    return outputs


def check_same(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Refuse outputs that differ by more than 1e-6.

    If the largest value is above one, by more than 1e-6 of it.

    Raises:
        ValueError: If they differ.
    """
    if len(actual) != len(expected) or not all(
        map(_is_same, actual, expected)
    ):
        raise ValueError(
            'the outputs of the exported subnet differ from those of the '
            f'subnet in place by more than {TOLERANCE}, so nothing was '
            'written. A model that draws random numbers in evaluation mode '
            'cannot be exported'
        )


def _is_same(actual: Tensor, expected: Tensor) -> bool:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if expected.numel() == 0:
        return True
    largest = max(1.0, expected.abs().max().item())
    return torch.allclose(actual, expected, rtol=0, atol=TOLERANCE * largest)
