"""ResNets, and networks with their layout."""

from contextlib import contextmanager
from itertools import count
from typing import Any, Iterator, List, Optional, Tuple

from torch import Tensor, nn

from ..stages import (
    Block,
    Stage,
    keep_input,
    register_stage_finder,
    shadow_attribute,
    unwrap_block,
)
from .known_classes import has_known_forward, refuse_mixed


class _NoShortcut:
    """Stands in for a block's ``downsample`` and adds nothing.

    Args:
        downsample: The block's own, which copies of the block get.
    """

    def __init__(self, downsample: Optional[nn.Module]) -> None:
        self._downsample = downsample

    def __call__(self, x: Tensor) -> Tensor:
        return x.new_zeros(())

    def __reduce__(self) -> Tuple[Any, ...]:
        return _return_downsample, (self._downsample,)


def _return_downsample(module: Optional[nn.Module]) -> Optional[nn.Module]:
    return module


@contextmanager
def _remove_shortcut(block: nn.Module) -> Iterator[None]:
    """Make a ResNet block add zero instead of its shortcut."""
    block = unwrap_block(block)
    nothing = _NoShortcut(block.downsample)
    with shadow_attribute(block, 'downsample', nothing):
        yield


def make_resnet_block(module: nn.Module) -> Block:
    """Make a block that has a ``downsample``, as a ResNet's has.

    The branch and the shortcut of a block that changes the shape can run
    alone only in a known package's block, whose last activation is known.
    """
    block = unwrap_block(module)
    # Blocks of mm and torchvision share one `relu`; timm numbers them, and
    # the last one follows the addition.
    names = [n for n in ('relu', 'act3', 'act2') if hasattr(block, n)]
    is_known = names and has_known_forward(block)
    branch_only = _remove_shortcut if is_known else None
    if _keeps_shape(block):
        return Block(module, keep_input, branch_only)
    if not is_known:
        return Block(module, None)

    def downsample(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = getattr(block, names[0])(block.downsample(x))
        return out

    return Block(module, downsample, branch_only)


def _has_downsample(module: nn.Module) -> bool:
    block = unwrap_block(module)
    shortcut = getattr(block, 'downsample', 'none of this name')
    return shortcut is None or isinstance(shortcut, nn.Module)


def _keeps_shape(module: nn.Module) -> bool:
    shortcut = unwrap_block(module).downsample
    is_empty = isinstance(shortcut, nn.Sequential) and len(shortcut) == 0
    return shortcut is None or isinstance(shortcut, nn.Identity) or is_empty


@register_stage_finder(
    'the ResNet layout, layer1, layer2 ... of blocks with a `downsample` '
    '(ResNet, ResNetV1c/d, ResNet_CIFAR, CIFARResNet, ResNeXt, SE-ResNet, '
    'SE-ResNeXt, Res2Net, ResNeSt, RegNet of mmpretrain, mmdet, mmseg and '
    'mmpose; ResNets of torchvision and timm)'
)
def find_resnet_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Find the stages of a network with the attributes of a ResNet."""
    layers = {}
    for index in count(1):
        layer = getattr(backbone, f'layer{index}', None)
        if not isinstance(layer, nn.Module):
            break
        layers[f'layer{index}'] = unwrap_block(layer)
    # HRNet has a `layer1`, too, but not the rest.
    if len(layers) < 2:
        return None
    stages = []
    for name, layer in layers.items():
        if not isinstance(layer, nn.Sequential):
            return None
        if any(hasattr(block, 'concat_output') for block in layer):
            continue  # TridentNet: the last block joins a list of branches
        blocks = [block for block in layer if _has_downsample(block)]
        if not blocks or not all(map(_keeps_shape, blocks[1:])):
            return None
        others = [block for block in layer if block not in blocks]
        refuse_mixed(backbone, name, blocks[0], others)
        stages.append(Stage(name, tuple(map(make_resnet_block, blocks))))
    return stages
