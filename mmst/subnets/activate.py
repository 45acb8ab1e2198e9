"""Run a model as one of its subnets, then put it back."""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Iterator, Optional, Sequence, Set, Union

from torch import nn

from .compile_blocks import check_not_compiled
from .preserve_buffers import preserve_buffers
from .replace_forward import replace_forward
from .stages import Block, Stage, check_branch, find_backbone, find_stages
from .subnet import Path, Subnet

_ACTIVE: ContextVar[Optional[Subnet]] = ContextVar(
    'active_subnet', default=None
)
# Backbones that run as a subnet now, in any thread.
_CLAIMED: Set[nn.Module] = set()
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
        ValueError: If the subnet does not fit the model's stages, or the
            model is compiled with its blocks inside.
        RuntimeError: If the model already runs as a subnet.

    Example:
        >>> with activate(model, (1, 2, 1, 2)) as subnet:
        ...     loss = cross_entropy(model(images), labels)
        ...     loss.backward()
        >>> subnet.depths
        (1, 2, 1, 2)
    """
    check_not_compiled(model)
    with ExitStack() as stack:
        stack.enter_context(claim(find_backbone(model)))
        stages = find_stages(model)
        if not isinstance(subnet, Subnet):
            subnet = Subnet.ordered(subnet, [len(stage) for stage in stages])
        stack.enter_context(take_paths(stages, subnet))
        if not update_running_stats:
            stack.enter_context(preserve_buffers(model.modules()))
        yield subnet


@contextmanager
def claim(backbone: nn.Module) -> Iterator[None]:
    """Reserve a backbone, so that it runs as one subnet at a time.

    Args:
        backbone: See :func:`mmst.subnets.find_backbone`.

    Raises:
        RuntimeError: If it is reserved already, in any thread.
    """
    with _LOCK:
        if backbone in _CLAIMED:
            raise RuntimeError(
                f'{type(backbone).__name__} already runs as a subnet, and '
                'only one can run at a time: leave the context of that '
                'subnet first, or give each thread a copy of the model '
                '(`copy.deepcopy`)'
            )
        _CLAIMED.add(backbone)
    try:
        yield
    finally:
        with _LOCK:
            _CLAIMED.discard(backbone)


@contextmanager
def take_paths(stages: Sequence[Stage], subnet: Subnet) -> Iterator[None]:
    """Run blocks as a subnet does; the backbone has to be claimed first.

    Args:
        stages: The stages of the model.
        subnet: The subnet.

    Raises:
        ValueError: If the subnet does not fit the stages.
    """
    _check_fit(stages, subnet)
    with ExitStack() as stack:
        token = _ACTIVE.set(subnet)
        stack.callback(_ACTIVE.reset, token)
        for stage, paths in zip(stages, subnet.paths):
            for block, path in zip(stage.blocks, paths):
                _take_path(stack, stage, block, path)
            for reader in stage.readers:
                stack.enter_context(reader.narrow(paths))
        yield


def _check_fit(stages: Sequence[Stage], subnet: Subnet) -> None:
    there = [len(stage) for stage in stages]
    given = [len(paths) for paths in subnet.paths]
    if there != given:
        raise ValueError(
            f'the subnet describes stages of {given} blocks, but '
            f'the model has stages of {there} blocks'
        )


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
