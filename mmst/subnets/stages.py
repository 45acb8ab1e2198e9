"""Find the residual stages of a backbone: one small finder per family.

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
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import (Any, Callable, ContextManager, Dict, Iterator, List,
                    Optional, Sequence, Tuple)

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

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
    """

    module: nn.Module
    shortcut: Optional[Shortcut] = identity
    branch_only: Optional[Callable[[nn.Module], ContextManager]] = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of residual blocks; all but the first keep the shape.

    Attributes:
        name: Its name inside the backbone, such as ``layer3``.
        blocks: The blocks, in the order in which they run.
    """

    name: str
    blocks: Tuple[Block, ...]

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
    """

    def register(finder: StageFinder) -> StageFinder:
        _FINDERS[family] = finder
        return finder

    return register


def find_backbone(model: nn.Module) -> nn.Module:
    """The backbone of a model: without DDP, detector or classifier around."""
    if is_model_wrapper(model):
        model = model.module
    return getattr(model, 'backbone', model)


def find_stages(model: nn.Module) -> Tuple[Stage, ...]:
    """Find the residual stages of a model's backbone.

    Args:
        model: A backbone, or a model that has one as ``backbone``; wrapped
            for distributed training or not.

    Raises:
        TypeError: If no registered family knows the backbone.
    """
    backbone = find_backbone(model)
    for finder in reversed(list(_FINDERS.values())):
        stages = finder(backbone)
        if stages:
            return tuple(stages)
    raise TypeError(
        f'no residual stages found in {type(backbone).__name__}. Known '
        f'families: {"; ".join(_FINDERS)}. Use one of these in '
        '`model.backbone`, or teach mmst yours with '
        '`mmst.subnets.register_stage_finder`')


class _Zero(nn.Module):
    """Stands in for a shortcut that is to add nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


@contextmanager
def _without_shortcut(block: nn.Module) -> Iterator[None]:
    """Let a ResNet block add zero in place of its shortcut."""
    downsample = block.downsample
    block.downsample = _Zero()
    try:
        yield
    finally:
        block.downsample = downsample


def _downsampling_shortcut(block: nn.Module) -> Shortcut:
    """The shortcut of a ResNet block that changes its input's shape."""
    # mm and torchvision blocks share one `relu`; timm numbers them, and the
    # last one follows the addition.
    names = [n for n in ('relu', 'act3', 'act2') if hasattr(block, n)]
    if not names:
        raise TypeError(
            f'{type(block).__name__} has a `downsample` but neither `relu` '
            'nor `act3` or `act2` to apply after it')
    return lambda x, *args, **kwargs: getattr(block, names[0])(
        block.downsample(x))


def resnet_block(module: nn.Module) -> Block:
    """Describe a block of the ResNet kind, which has a ``downsample``."""
    if module.downsample is None:
        return Block(module, identity, _without_shortcut)
    return Block(module, _downsampling_shortcut(module), _without_shortcut)


@register_stage_finder(
    'the ResNet layout, layer1, layer2 ... of blocks with a `downsample` '
    '(ResNet, ResNetV1c/d, ResNet_CIFAR, CIFARResNet, ResNeXt, SE-ResNet, '
    'SE-ResNeXt, Res2Net, ResNeSt, RegNet of mmpretrain, mmdet, mmseg and '
    'mmpose; ResNets of torchvision and timm)')
def find_resnet_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Stages of every network with the attributes of a ResNet."""
    stages = []
    for index in count(1):
        layer = getattr(backbone, f'layer{index}', None)
        if not isinstance(layer, nn.Sequential):
            break
        if not all(hasattr(block, 'downsample') for block in layer):
            return None
        if any(block.downsample is not None for block in list(layer)[1:]):
            return None
        stages.append(
            Stage(f'layer{index}', tuple(map(resnet_block, layer))))
    # HRNet has a `layer1` and then goes its own way.
    return stages if len(stages) > 1 else None
