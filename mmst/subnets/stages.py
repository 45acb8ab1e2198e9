"""What residual stages are, and who finds them in a backbone.

The finders of the families that mmst knows are in :mod:`.families`.

To teach ``mmst`` a new family, register one function::

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


def identity(x: Any, *args: Any, **kwargs: Any) -> Any:
    """The shortcut of a block that keeps its input's shape."""
    return x


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block ``y = branch(x) + shortcut(x)`` and its two paths.

    Attributes:
        module: The block.
        shortcut: What stands in for ``module.forward`` when only the shortcut
            runs; ``None`` if the block has no shortcut.
        branch_only: Given the module, a context in which its forward is the
            residual branch alone; ``None`` if that cannot be had.

    Example:
        >>> Block(nn.Identity()).shortcut(3)  # what stays when it is skipped
        3
    """

    module: nn.Module
    shortcut: Optional[Shortcut] = identity
    branch_only: Optional[Callable[[nn.Module], ContextManager[None]]] = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of residual blocks; all but the first keep the shape.

    Attributes:
        name: Its name inside the backbone, such as ``layer3``.
        blocks: The blocks, in the order in which they run.
        readers: Where blocks do not add to their input but give channels of
            their own, as in DenseNet: the layers that read these channels,
            which get fewer of them when a block is skipped.

    Example:
        >>> len(Stage('layer1', (Block(nn.Identity()), Block(nn.Identity()))))
        2
    """

    name: str
    blocks: Tuple[Block, ...]
    readers: Tuple[Reader, ...] = ()

    def __len__(self) -> int:
        return len(self.blocks)


StageFinder = Callable[[nn.Module], Optional[Sequence[Stage]]]
_FINDERS: Dict[str, StageFinder] = {}


def register_stage_finder(family: str) -> Callable[[StageFinder], StageFinder]:
    """Register a function that finds the stages of one network family.

    The function gets a backbone and returns its stages, or ``None`` if the
    backbone is not of its family. Finders registered later are asked first.

    Args:
        family: Name of the family, as error messages shall list it.

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
    """Give a model without its wrapper for distributed training, if any.

    Example:
        >>> unwrap_model(nn.DataParallel(model)) is model
        True
    """
    if isinstance(model, (DataParallel, DistributedDataParallel)):
        return model.module
    return model


def find_backbone(model: nn.Module) -> nn.Module:
    """The backbone of a model: without DDP, detector or classifier around.

    Of a network of timm also without its wrapper, ``TIMMBackbone``.

    Example:
        >>> find_backbone(nn.ModuleDict(dict(backbone=model))) is model
        True
    """
    model = unwrap_model(model)
    for name in ('backbone', 'timm_model'):
        inner = getattr(model, name, None)
        # Some networks have a method or an option of the name.
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
        '`model.backbone`, or teach mmst yours with '
        '`mmst.subnets.register_stage_finder`'
    )


def _describe(backbone: nn.Module) -> str:
    """What a network is, where its class's name does not say it."""
    name = type(backbone).__name__
    if isinstance(backbone, GraphModule):
        return (
            f'{name}, a torch.fx GraphModule: tracing left no blocks to skip, '
            'so give the model as it was before'
        )
    if isinstance(backbone, torch.jit.ScriptModule):
        return (
            f'{getattr(backbone, "original_name", name)}, a TorchScript '
            'module: its blocks cannot be skipped, so give the model as it '
            'was before'
        )
    return f'{name} of {type(backbone).__module__}'


def _check_distinct(backbone: nn.Module, stages: Sequence[Stage]) -> None:
    # Networks iterate over a block that stands twice in a list only once.
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
                    f'a {type(block.module).__name__} of {stage.name} stands '
                    'twice in the network, which then cannot be run without '
                    'one of its two places: give each place a block of its own'
                )
