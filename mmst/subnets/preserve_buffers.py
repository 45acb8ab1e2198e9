"""Restore a model's buffers, such as running statistics."""

from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Tuple

import torch
from torch import Tensor


@contextmanager
def preserve_buffers(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Undo afterwards all writes into buffers inside.

    By what was written and not by what the modules are: so it holds for norm
    layers of every kind, in whichever mode they are put inside, in compiled
    blocks, and for the ranges that quantisation observes.

    Args:
        buffers: Those of a model. Buffers that share memory with others, as
            views do, or change their shape inside are not supported.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with preserve_buffers(norm.buffers()):
        ...     _ = norm(torch.ones(3, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    groups = list(_by_kind(buffers))
    kept = [_joined(group) for group in groups]
    try:
        yield
    finally:
        for group, joined in zip(groups, kept):
            parts = joined.split([buffer.numel() for buffer in group])
            # Unseen by autograd: graphs of earlier passes may hold buffers
            # that were only read inside.
            torch._foreach_copy_(
                [buffer.data for buffer in group],
                [part.view_as(buffer) for buffer, part in zip(group, parts)],
            )


def _by_kind(buffers: Iterable[Tensor]) -> Iterable[List[Tensor]]:
    """Group buffers that can be joined."""
    groups: Dict[Tuple[torch.dtype, torch.device], List[Tensor]] = {}
    for buffer in buffers:
        groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    return groups.values()


def _joined(group: List[Tensor]) -> Tensor:
    """One copy of many tensors: on a GPU one kernel, not one for each."""
    return torch.cat([buffer.detach().flatten() for buffer in group])
