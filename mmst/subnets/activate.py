"""Run a model as one of its subnets, then put it back."""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Iterable, Iterator, Optional, Sequence, Union

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .replace_forward import replace_forward
from .stages import Block, Stage, find_stages
from .subnet import Path, Subnet

_ACTIVE: ContextVar[Optional[Subnet]] = ContextVar(
    'active_subnet', default=None
)


def active_subnet() -> Optional[Subnet]:
    """The subnet that is running now; ``None`` for the main network."""
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
    Afterwards, after an exception too, the model is the main network again.

    Args:
        model: The model, a backbone or anything around it, DDP included.
        subnet: A subnet, or the number of blocks to keep in each stage.
        update_running_stats: Whether norm layers in training mode update
            their running statistics. By default they normalise with the
            batch's own statistics and leave the running ones, which are the
            main network's, alone.

    Yields:
        Subnet: The subnet that runs.

    Raises:
        ValueError: If the subnet does not fit the model's stages.
    """
    stages = find_stages(model)
    if not isinstance(subnet, Subnet):
        subnet = Subnet.ordered(subnet, [len(stage) for stage in stages])
    with ExitStack() as stack:
        stack.enter_context(take_paths(stages, subnet))
        if not update_running_stats:
            stack.enter_context(preserve_running_stats(model.modules()))
        yield subnet


@contextmanager
def take_paths(stages: Sequence[Stage], subnet: Subnet) -> Iterator[None]:
    """Let blocks run as a subnet has it.

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


@contextmanager
def preserve_running_stats(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let norm layers in training mode leave their running statistics alone.

    Args:
        modules: All modules of a model, or its norm layers.
    """
    with ExitStack() as stack:
        for module in modules:
            _keep_running_stats(stack, module)
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


def _keep_running_stats(stack: ExitStack, module: nn.Module) -> None:
    """Leave a norm layer's running statistics as they are."""
    if not module.training:
        return
    if isinstance(module, _BatchNorm):
        if module.track_running_stats:
            # In training mode this flag only decides on the update.
            stack.callback(setattr, module, 'track_running_stats', True)
            module.track_running_stats = False
    elif getattr(module, 'running_mean', None) is not None:
        # InstanceNorm, mmcv's SyncBatchNorm and others of their own kind.
        for buffer in module.buffers(recurse=False):
            stack.callback(buffer.copy_, buffer.clone())
