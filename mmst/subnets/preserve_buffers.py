"""Restore a model's buffers, such as running statistics."""

from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn


@contextmanager
def preserve_buffers(model: Optional[nn.Module]) -> Iterator[None]:
    """Undo afterwards all changes of buffers inside this context.

    It restores values, whatever changed them: norm layers of every kind, in
    either mode, also in compiled blocks, and observers of quantisation, whose
    buffers get their shape in the first pass.

    Args:
        model: The model; ``None`` for no buffers. Buffers that share memory
            with others, as views do, are not supported.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with preserve_buffers(norm):
        ...     _ = norm(torch.ones(3, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    modules = [] if model is None else list(model.modules())
    owned = [(module._buffers, dict(module._buffers)) for module in modules]
    groups = list(
        _group_by_kind({id(b): b for _, kept in owned for b in kept.values()})
    )
    shapes = [[buffer.shape for buffer in group] for group in groups]
    joined = [_join(group) for group in groups]
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


def _join(group: List[Tensor]) -> Tensor:
    """Copy many tensors into one: on a GPU, one kernel for all of them."""
    return torch.cat([buffer.detach().flatten() for buffer in group])


def _restore(
    group: List[Tensor], joined: Tensor, shapes: List[torch.Size]
) -> None:
    parts = [
        part.view(shape)
        for part, shape in zip(
            joined.split([shape.numel() for shape in shapes]), shapes
        )
    ]
    for buffer, part in zip(group, parts):
        if buffer.shape != part.shape:
            buffer.data = part.clone()
    # Hidden from autograd: graphs of earlier passes may still need buffers
    # that were only read inside.
    torch._foreach_copy_([buffer.data for buffer in group], parts)
