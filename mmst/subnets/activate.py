"""Run a model as one of its subnets, then put it back."""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Iterator, Optional, Sequence, Set, Union

from torch import nn

from .compile_blocks import check_not_compiled
from .preserve_buffers import preserve_buffers
from .replace_forward import replace_forward
from .stages import Block, Stage, find_backbone, find_stages
from .subnet import Path, Subnet

_ACTIVE: ContextVar[Optional[Subnet]] = ContextVar(
    'active_subnet', default=None
)
# Backbones whose forwards are replaced now, in whatever thread.
_CLAIMED: Set[nn.Module] = set()
_LOCK = Lock()


def get_active_subnet() -> Optional[Subnet]:
    """The subnet that is running now; ``None`` for the main network.

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

    Only the depth is set here; the caller resizes the input
    (:func:`mmst.subnets.resize_inputs`). Keep the backward pass inside the
    context as well: gradient checkpointing runs the forward again in it.
    Afterwards, after an exception too, the model is the main network again;
    a copy or a pickle of it that is made inside the context is so at once.
    Threads that are to run subnets at a time need a copy of the model each.

    Args:
        model: The model, a backbone or anything around it, DDP included.
        subnet: A subnet, or the number of blocks to keep in each stage.
        update_running_stats: Whether norm layers in training mode update
            their running statistics. By default they normalise with the
            batch's own statistics, and the running ones, which are the main
            network's, come back in the end, as do all buffers of the model.

    Yields:
        Subnet: The subnet that runs.

    Raises:
        ValueError: If the subnet does not fit the model's stages, or the
            model is compiled with its blocks inside.
        RuntimeError: If the model runs as a subnet already.

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
            stack.enter_context(preserve_buffers(model))
        yield subnet


@contextmanager
def claim(backbone: nn.Module) -> Iterator[None]:
    """Be the only one that changes how a backbone runs.

    Args:
        backbone: See :func:`mmst.subnets.find_backbone`.

    Raises:
        RuntimeError: If somebody else does so, in whatever thread.
    """
    with _LOCK:
        if backbone in _CLAIMED:
            raise RuntimeError(
                f'{type(backbone).__name__} runs as a subnet already, and can '
                'run as one at a time: leave the context of that subnet '
                'first, or give each thread a copy of the model '
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
    """Let blocks run as a subnet has it; the backbone has to be claimed.

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
                stack.enter_context(reader.narrowed(paths))
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
        # A block without a shortcut is its residual branch already.
        if block.shortcut is None:
            return
        if block.branch_only is None:
            raise ValueError(
                f'raw sampling is not known for {type(block.module).__name__}'
                f' in {stage.name}: its stage finder gives no `branch_only`'
            )
        stack.enter_context(block.branch_only(block.module))
