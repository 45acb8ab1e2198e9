"""Run a model as one of its subnets, then put it back."""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence, Union

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from .compilation import check_not_compiled
from .stages import (
    Stage,
    check_branch,
    find_network,
    keep_input,
    replace_forward,
)
from .subnet import Path, Subnet

_ACTIVE: ContextVar[Optional[Subnet]] = ContextVar(
    'active_subnet', default=None
)
# Backbones that run now, in any thread, each with a mark of who runs it.
_RUNNING: Dict[nn.Module, object] = {}


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
    context, too: gradient checkpointing repeats the forward pass in it.
    Afterwards, even after an exception, the model is the main network again,
    as is a copy or a pickle made inside. Give each thread its own copy.

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
    backbone, stages = find_network(model)
    if not isinstance(subnet, Subnet):
        subnet = Subnet.ordered(subnet, [len(stage) for stage in stages])
    if isinstance(model, DataParallel):
        check_replicas(stages, [subnet])
    modules = () if update_running_stats else model.modules()
    with run_paths(backbone, stages, subnet, modules):
        yield subnet


@contextmanager
def run_paths(
    backbone: nn.Module,
    stages: Sequence[Stage],
    subnet: Optional[Subnet],
    preserved: Iterable[nn.Module],
) -> Iterator[None]:
    """Run a backbone as a subnet, or as the main network, and as no other.

    In the end, the buffers of the ``preserved`` modules are restored.
    """
    mine = object()
    if _RUNNING.setdefault(backbone, mine) is not mine:
        raise RuntimeError(
            f'{type(backbone).__name__} already runs as a subnet, and only '
            'one can run at a time: leave the context of that subnet first, '
            'or give each thread a copy of the model (`copy.deepcopy`)'
        )
    try:
        with ExitStack() as stack:
            if subnet is not None:
                stack.callback(_ACTIVE.reset, _ACTIVE.set(subnet))
                _take_paths(stack, stages, subnet)
            stack.enter_context(preserve_buffers(preserved))
            yield
    finally:
        del _RUNNING[backbone]


def _take_paths(
    stack: ExitStack, stages: Sequence[Stage], subnet: Subnet
) -> None:
    there = [len(stage) for stage in stages]
    given = [len(paths) for paths in subnet.paths]
    if there != given:
        raise ValueError(
            f'the subnet describes stages of {given} blocks, but the model '
            f'has stages of {there} blocks'
        )
    for stage, paths in zip(stages, subnet.paths):
        for block, path in zip(stage.blocks, paths):
            if path is Path.SHORTCUT:
                if block.shortcut is None:
                    raise ValueError(
                        f'a block of {stage.name} has no shortcut and cannot '
                        'be skipped'
                    )
                stack.enter_context(
                    replace_forward(block.module, block.shortcut)
                )
            elif path is Path.BRANCH:
                check_branch(stage, block)
                if block.shortcut and block.branch_only:
                    stack.enter_context(block.branch_only(block.module))
        for reader in stage.readers:
            stack.enter_context(reader.narrow(paths))


def check_replicas(stages: Sequence[Stage], subnets: Iterable[Subnet]) -> None:
    """Reject paths that ``nn.DataParallel`` runs with others' weights."""
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
    """Undo afterwards all changes of buffers of these modules.

    Their children's are others. Buffers that share memory, as views do, are
    not supported.
    """
    owned = [(module._buffers, dict(module._buffers)) for module in modules]
    # By kind: on a GPU, one kernel copies all of them.
    groups: Dict[Any, Dict[Tensor, Tensor]] = {}
    for _, kept in owned:
        for buffer in kept.values():
            if buffer is not None:
                kind = buffer.dtype, buffer.device
                groups.setdefault(kind, {})[buffer] = torch.empty_like(buffer)
    with torch.no_grad():
        for copies in groups.values():
            torch._foreach_copy_([*copies.values()], [*copies])
    try:
        yield
    finally:
        for now, kept in owned:
            if now.keys() != kept.keys() or any(
                now[name] is not buffer for name, buffer in kept.items()
            ):
                now.clear()
                now.update(kept)
        for copies in groups.values():
            for buffer, copy in copies.items():
                # Observers of quantisation give theirs a shape.
                if buffer.shape != copy.shape:
                    buffer.data = torch.empty_like(copy)
            # Hidden from autograd: graphs of earlier passes may still need
            # buffers that were only read inside.
            torch._foreach_copy_(
                [buffer.data for buffer in copies], [*copies.values()]
            )
