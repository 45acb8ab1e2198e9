"""Residual stages, and the functions that find them in a backbone.

Those of the supported network families are in :mod:`.families`.

To add a family, register one function::

    @register_stage_finder('MyNet')
    def find_my_stages(backbone):
        if not isinstance(backbone, MyNet):
            return None
        return [
            Stage(f'stages.{i}', tuple(Block(m) for m in stage))
            for i, stage in enumerate(backbone.stages)
        ]
"""

from collections import Counter
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .readers import Reader

Shortcut = Callable[..., Any]


def keep_input(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the input: the shortcut of a block that keeps its shape."""
    return x


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block ``y = branch(x) + shortcut(x)`` and its two paths.

    Attributes:
        module: The block.
        shortcut: Replaces ``module.forward`` when only the shortcut runs;
            ``None`` if the block has no shortcut.
        branch_only: Takes the module and returns a context in which its
            forward is the residual branch alone; ``None`` if not supported.

    Example:
        >>> Block(nn.Identity()).shortcut(3)  # the input stays as it is
        3
    """

    module: nn.Module
    shortcut: Optional[Shortcut] = keep_input
    branch_only: Optional[Callable[[nn.Module], ContextManager[None]]] = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of residual blocks; all but the first keep the shape.

    Attributes:
        name: Its name inside the backbone, such as ``layer3``.
        blocks: The blocks, in the order in which they run.
        readers: Where blocks append channels instead of adding to their
            input, as in DenseNet: the layers that read these channels, which
            get fewer of them when a block is skipped.

    Example:
        >>> len(Stage('layer1', (Block(nn.Identity()), Block(nn.Identity()))))
        2
    """

    name: str
    blocks: Tuple[Block, ...]
    readers: Tuple[Reader, ...] = ()

    def __len__(self) -> int:
        return len(self.blocks)


def check_branch(stage: Stage, block: Block) -> None:
    """Refuse a block whose residual branch cannot run alone.

    Raises:
        ValueError: If it is one.
    """
    # Without a shortcut the block is its branch.
    if block.shortcut is not None and block.branch_only is None:
        raise ValueError(
            f"strategy 'raw' is not supported for "
            f'{type(block.module).__name__} in {stage.name}, whose stage '
            "finder sets no `branch_only`: set strategy to 'ordered' or "
            "'stochastic'"
        )


StageFinder = Callable[[nn.Module], Optional[Sequence[Stage]]]
_FINDERS: Dict[str, StageFinder] = {}


def register_stage_finder(family: str) -> Callable[[StageFinder], StageFinder]:
    """Register a function that finds the stages of one network family.

    The function gets a backbone and returns its stages, or ``None`` if the
    backbone is not of its family. Finders registered later are asked first.

    Args:
        family: Name of the family, as shown in error messages.

    Example:
        >>> @register_stage_finder('Chain')
        ... def find_chain(backbone):
        ...     if isinstance(backbone, nn.Sequential):
        ...         return [Stage('chain', tuple(map(Block, backbone)))]
        >>> len(find_stages(nn.Sequential(nn.Identity(), nn.Tanh()))[0])
        2
    """

    def register(finder: StageFinder) -> StageFinder:
        _FINDERS[family] = finder
        return finder

    return register


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return a model without its wrapper for distributed training, if any.

    Example:
        >>> unwrap_model(nn.DataParallel(model)) is model
        True
    """
    if isinstance(model, (DataParallel, DistributedDataParallel)):
        return model.module
    return model


def find_backbone(model: nn.Module) -> nn.Module:
    """Find the backbone of a model, inside DDP, a detector or a classifier.

    For a network of timm, this is the one inside ``TIMMBackbone``.

    Raises:
        TypeError: If it is no network.

    Example:
        >>> find_backbone(nn.ModuleDict(dict(backbone=model))) is model
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f'expected a network, a torch.nn.Module, not {model!r}'
        )
    model = unwrap_model(model)
    for name in ('backbone', 'timm_model'):
        inner = getattr(model, name, None)
        # Some networks have a method or an option of that name.
        model = inner if isinstance(inner, nn.Module) else model
    return model


def find_stages(model: nn.Module) -> Tuple[Stage, ...]:
    """Find the residual stages of a model's backbone.

    Args:
        model: A backbone, or a model that has one as ``backbone``; wrapped
            for distributed training or not.

    Raises:
        TypeError: If no registered family knows the backbone.

    Example:
        >>> [(stage.name, len(stage)) for stage in find_stages(model)]
        [('layer1', 2), ('layer2', 2), ('layer3', 2), ('layer4', 2)]
    """
    backbone = find_backbone(model)
    for finder in reversed(list(_FINDERS.values())):
        stages = finder(backbone)
        if stages:
            _check_distinct(backbone, stages)
            return tuple(stages)
    raise TypeError(
        f'no residual stages found in {_describe(backbone)}. Known '
        f'families: {"; ".join(_FINDERS)}. Use one of these in '
        '`model.backbone`, or add yours with '
        '`mmst.subnets.register_stage_finder`'
    )


def _describe(backbone: nn.Module) -> str:
    """Describe a network, also where its class's name misleads."""
    name = type(backbone).__name__
    if isinstance(backbone, GraphModule):
        return (
            f'{name}, a torch.fx GraphModule: tracing left no blocks to skip, '
            'so pass the model as it was before'
        )
    if isinstance(backbone, torch.jit.ScriptModule):
        return (
            f'{getattr(backbone, "original_name", name)}, a TorchScript '
            'module: its blocks cannot be skipped, so pass the model as it '
            'was before'
        )
    return f'{name} of {type(backbone).__module__}'


def _check_distinct(backbone: nn.Module, stages: Sequence[Stage]) -> None:
    # A network lists a block that it has twice only once, unless asked.
    places = Counter(
        module for _, module in backbone.named_modules(remove_duplicate=False)
    )
    listed = Counter(
        block.module for stage in stages for block in stage.blocks
    )
    for stage in stages:
        for block in stage.blocks:
            if max(places[block.module], listed[block.module]) > 1:
                raise TypeError(
                    f'the network has the same {type(block.module).__name__} '
                    f'of {stage.name} in two places, and it cannot be skipped '
                    'in one of them alone: give each place its own block'
                )
