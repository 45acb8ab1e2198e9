"""ResNets, and networks with their layout."""

from itertools import count
from typing import Any, ContextManager, List, Optional

from torch import Tensor, nn

from ..stages import (
    Block,
    Replacement,
    Stage,
    keep_input,
    register_stage_finder,
    shadow_attribute,
    unwrap_block,
)
from .known_classes import has_known_forward, refuse_mixed


def _remove_shortcut(block: nn.Module) -> ContextManager[None]:
    """Make a ResNet block add zero instead of its shortcut."""
    block = unwrap_block(block)
    nothing = Replacement(block.downsample, lambda x: x.new_zeros(()))
    return shadow_attribute(block, 'downsample', nothing)


def _make_block(module: nn.Module) -> Block:
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

    def downsample(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = getattr(block, names[0])(block.downsample(x))
        return out

    return Block(module, downsample if is_known else None, branch_only)


def _has_downsample(module: nn.Module) -> bool:
    shortcut = getattr(unwrap_block(module), 'downsample', 'none')
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
        stages.append(Stage(name, tuple(map(_make_block, blocks))))
    return stages
