"""Run a model as one of its subnets, then put it back."""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import (
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from .compilation import check_not_compiled
from .stages import (
    Block,
    Stage,
    check_branch,
    find_backbone,
    find_stages,
    keep_input,
    replace_forward,
)
from .subnet import Path, Subnet

_ACTIVE: ContextVar[Optional[Subnet]] = ContextVar(
    'active_subnet', default=None
)
# Backbones that run now, in any thread.
_RUNNING: Set[nn.Module] = set()
_LOCK = Lock()


def get_active_subnet() -> Optional[Subnet]:
    """Return the subnet that runs now; ``None`` for the main network.

    Example:
        >>> with activate(model, (1, 2, 1, 2)):
        ...     print(get_active_subnet())
        1-2-1-2
        >>> get_active_subnet() is None
        True
    """
    return _ACTIVE.get()


@contextmanager
def activate(
    model: nn.Module,
    subnet: Union[Subnet, Sequence[int]],
    update_running_stats: bool = False,
) -> Iterator[Subnet]:
    """Run a model as one of its subnets inside this context.

    This sets the depth alone; resize the input with
    :func:`mmst.subnets.resize_inputs`. Keep the backward pass inside the
    context as well, since gradient checkpointing repeats the forward pass in
    it. Afterwards, even after an exception, the model is the main network
    again. A copy or a pickle made inside is the main network, too. To run
    subnets in several threads at once, give each a copy of the model.

    Args:
        model: The model, a backbone or anything around it, DDP included.
        subnet: A subnet, or the number of blocks to keep in each stage.
        update_running_stats: Whether norm layers in training mode update
            their running statistics. By default these stay the main
            network's: all buffers of the model are restored in the end.

    Yields:
        Subnet: The subnet that runs.

    Raises:
        ValueError: If the subnet does not fit the model's stages, the model
            is compiled with its blocks inside, or ``nn.DataParallel`` would
            run the original's shortcuts in its copies.
        RuntimeError: If the model already runs as a subnet.

    Example:
        >>> with activate(model, (1, 2, 1, 2)) as subnet:
        ...     loss = cross_entropy(model(images), labels)
        ...     loss.backward()
        >>> subnet.depths
        (1, 2, 1, 2)
    """
    check_not_compiled(model)
    stages = find_stages(model)
    if not isinstance(subnet, Subnet):
        subnet = Subnet.ordered(subnet, [len(stage) for stage in stages])
    if isinstance(model, DataParallel):
        check_replicas(stages, [subnet])
    modules = () if update_running_stats else model.modules()
    with run_paths(find_backbone(model), stages, subnet, modules):
        yield subnet


@contextmanager
def run_paths(
    backbone: nn.Module,
    stages: Sequence[Stage],
    subnet: Optional[Subnet],
    preserved: Iterable[nn.Module],
) -> Iterator[None]:
    """Run a backbone as a subnet inside this context, and as no other.

    Args:
        backbone: The backbone.
        stages: Its stages.
        subnet: The subnet; ``None`` for the main network.
        preserved: Modules whose buffers are restored in the end.

    Raises:
        RuntimeError: If the backbone already runs as a subnet, in any thread.
        ValueError: If the subnet does not fit the stages.
    """
    with _LOCK:
        if backbone in _RUNNING:
            raise RuntimeError(
                f'{type(backbone).__name__} already runs as a subnet, and '
                'only one can run at a time: leave the context of that '
                'subnet first, or give each thread a copy of the model '
                '(`copy.deepcopy`)'
            )
        _RUNNING.add(backbone)
    try:
        with ExitStack() as stack:
            if subnet is not None:
                token = _ACTIVE.set(subnet)
                stack.callback(_ACTIVE.reset, token)
                _take_paths(stack, stages, subnet)
            stack.enter_context(preserve_buffers(preserved))
            yield
    finally:
        with _LOCK:
            _RUNNING.discard(backbone)


def _take_paths(
    stack: ExitStack, stages: Sequence[Stage], subnet: Subnet
) -> None:
    there = [len(stage) for stage in stages]
    given = [len(paths) for paths in subnet.paths]
    if there != given:
        raise ValueError(
            f'the subnet describes stages of {given} blocks, but '
            f'the model has stages of {there} blocks'
        )
    for stage, paths in zip(stages, subnet.paths):
        for block, path in zip(stage.blocks, paths):
            _take_path(stack, stage, block, path)
        for reader in stage.readers:
            stack.enter_context(reader.narrow(paths))


def _take_path(
    stack: ExitStack, stage: Stage, block: Block, path: Path
) -> None:
    if path is Path.SHORTCUT:
        if block.shortcut is None:
            raise ValueError(
                f'a block of {stage.name} has no shortcut and '
                'cannot be skipped'
            )
        stack.enter_context(replace_forward(block.module, block.shortcut))
    elif path is Path.BRANCH:
        check_branch(stage, block)
        if block.shortcut is not None and block.branch_only is not None:
            stack.enter_context(block.branch_only(block.module))


def check_replicas(stages: Sequence[Stage], subnets: Iterable[Subnet]) -> None:
    """Reject paths that ``nn.DataParallel`` would run with wrong weights.

    Args:
        stages: Stages of the network that it copies.
        subnets: Subnets to run in the copies.

    Raises:
        ValueError: If a path of theirs has weights, the original's.
    """
    for subnet in subnets:
        for stage, paths in zip(stages, subnet.paths):
            for block, path in zip(stage.blocks, paths):
                keeps = block.shortcut in (None, keep_input)
                if (
                    stage.readers
                    or (path is Path.BRANCH and block.shortcut is not None)
                    or (path is Path.SHORTCUT and not keeps)
                ):
                    raise ValueError(
                        'nn.DataParallel copies the network, and copies would '
                        f"run {stage.name} with the original's weights: use "
                        "DistributedDataParallel, or strategy 'ordered' with "
                        'a network whose skipped blocks keep their input'
                    )


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
