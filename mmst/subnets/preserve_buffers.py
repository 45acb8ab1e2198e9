"""Restore a model's buffers, such as running statistics."""

from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn


@contextmanager
def preserve_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Undo afterwards all changes of buffers inside this context.

    It restores values, whatever changed them: norm layers of every kind, in
    either mode, also in compiled blocks, and observers of quantisation, whose
    buffers get their shape in the first pass.

    Args:
        modules: Modules whose buffers to restore, without their children's.
            Buffers that share memory, as views do, are not supported.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with preserve_buffers(norm.modules()):
        ...     _ = norm(torch.ones(3, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    owned = [(module._buffers, dict(module._buffers)) for module in modules]
    groups = list(
        _group_by_kind({id(b): b for _, kept in owned for b in kept.values()})
    )
    shapes = [[buffer.shape for buffer in group] for group in groups]
    with torch.no_grad():
        # One copy of many: on a GPU, one kernel for all of them.
        joined = [torch.cat([*map(_flatten, group)]) for group in groups]
    try:
        yield
    finally:
        for now, kept in owned:
            if now.keys() != kept.keys() or any(
                now[name] is not buffer for name, buffer in kept.items()
            ):
                now.clear()
                now.update(kept)
        for group, values, was in zip(groups, joined, shapes):
            _restore(group, values, was)


def _group_by_kind(
    buffers: Dict[int, Optional[Tensor]],
) -> Iterable[List[Tensor]]:
    """Group buffers that can be joined."""
    groups: Dict[Tuple[torch.dtype, torch.device], List[Tensor]] = {}
    for buffer in buffers.values():
        if buffer is not None:
            groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    return groups.values()


def _flatten(buffer: Tensor) -> Tensor:
    # Most have one dimension, and there are many.
    return buffer if buffer.dim() == 1 else buffer.reshape(-1)


def _restore(
    group: List[Tensor], joined: Tensor, shapes: List[torch.Size]
) -> None:
    sizes = [shape.numel() for shape in shapes]
    parts = [
        part if len(shape) == 1 else part.view(shape)
        for part, shape in zip(joined.split(sizes), shapes)
    ]
    for buffer, part, shape in zip(group, parts, shapes):
        if buffer.shape != shape:
            buffer.data = part.clone()
    # Hidden from autograd: graphs of earlier passes may still need buffers
    # that were only read inside.
    torch._foreach_copy_([buffer.data for buffer in group], parts)
