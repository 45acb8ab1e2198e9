"""What a model gives, as tensors, and whether two models give the same."""

import copy
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor, nn

from mmst.evaluation import preprocess_unmixed
from mmst.subnets.cost import iter_tensors

TOLERANCE = 1e-6


@torch.no_grad()
def compute_outputs(model: nn.Module, data: Dict[str, Any]) -> List[Tensor]:
    """What a model gives in evaluation mode, before decoding.

    Args:
        model: A model of MMEngine's kind, left in evaluation mode.
        data: A training batch, as the data loader gives it; left as it is.

    Raises:
        ValueError: If it gives no tensor.
    """
    model.eval()
    # Some preprocessors write into their data samples.
    inputs = preprocess_unmixed(model, copy.deepcopy(data))
    outputs = list(iter_tensors(model._run_forward(inputs, mode='tensor')))
    if not outputs:
        raise ValueError(
            f'{type(model).__name__} gives no tensor to compare '
            "in mode='tensor'"
        )
    return outputs


def check_same(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Compare outputs, to 1e-6 of the largest if that is above one.

    Raises:
        ValueError: If they differ.
    """
    if len(actual) != len(expected) or not all(
        map(_is_same, actual, expected)
    ):
        raise ValueError(
            'the exported subnet does not give the outputs of the subnet in '
            f'place to {TOLERANCE}, so that nothing was written. A model '
            'that draws random numbers in evaluation mode cannot be exported'
        )


def _is_same(actual: Tensor, expected: Tensor) -> bool:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if expected.numel() == 0:
        return True
    largest = max(1.0, expected.abs().max().item())
    return torch.allclose(actual, expected, rtol=0, atol=TOLERANCE * largest)
