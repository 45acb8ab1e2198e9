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
    """Compute a model's outputs for a batch, before decoding.

    The model stays in evaluation mode; the batch is not changed.
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


def are_same(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether outputs differ by 1e-6 at most.

    If the largest value is above one, by 1e-6 of it.
    """
    for a, b in zip(actual, expected):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        largest = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        if not torch.allclose(a, b, rtol=0, atol=TOLERANCE * largest):
            return False
    return len(actual) == len(expected)
