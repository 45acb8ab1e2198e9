"""Check whether a loss uses a softmax, as normalised logits require."""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn


def is_of_softmax(loss: nn.Module, num_classes: int) -> bool:
    """Return whether a loss applies a softmax to logits.

    A softmax does not change if a number is added to all logits; sigmoids do.
    The loss itself is tried, whatever its name. Normalised logits cannot
    satisfy sigmoids: their length is fixed, and sigmoids need one large
    positive logit and N - 1 negative ones.

    Args:
        loss: A loss module of mmpretrain's kind, called with logits,
            (N, num_classes), and labels, (N, ) or (N, num_classes).
        num_classes: Number of classes.

    Returns:
        bool: Also True for a loss that takes neither kind of labels.

    Example:
        >>> is_of_softmax(torch.nn.CrossEntropyLoss(), 3)
        True
        >>> is_of_softmax(torch.nn.BCEWithLogitsLoss(), 3)
        False
    """
    logits = torch.linspace(-1, 2, 2 * num_classes).view(2, num_classes)
    labels = torch.tensor([0, num_classes - 1])
    for target in (labels, F.one_hot(labels, num_classes).float()):
        try:
            # A copy, on the CPU: some losses have counters.
            values = [
                float(deepcopy(loss).cpu()(logits + shift, target))
                for shift in (0.0, 2.0)
            ]
        except Exception:  # any error about the kind of labels
            continue
        return math.isclose(*values, rel_tol=1e-3, abs_tol=1e-6)
    return True
