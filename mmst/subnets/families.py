"""The network families whose stages mmst can find: one finder each."""
from contextlib import contextmanager
from itertools import count
from typing import ContextManager, Iterable, Iterator, List, Optional

from torch import Tensor, nn

from .stages import (Block, Shortcut, Stage, identity, register_stage_finder,
                     replaced_forward)


def _sum_block(module: nn.Module) -> Block:
    """A block whose last operation adds its input: y = branch(x) + x."""
    return Block(module, identity, _without_input)


def _without_input(module: nn.Module) -> ContextManager:
    """Let such a block give its branch alone, by taking its input off."""
    forward = module.forward
    return replaced_forward(
        module, lambda x, *args, **kwargs: forward(x, *args, **kwargs) - x)


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


def _has_shortcut(module: nn.Module) -> Optional[bool]:
    """Whether an inverted residual block adds its input; None for others."""
    for flag in ('with_res_shortcut', 'use_res_connect'):
        if hasattr(module, flag):
            return getattr(module, flag)
    return None


@register_stage_finder(
    'inverted residuals, layer0, layer1 ... (MobileNetV2 and MobileNetV3 of '
    'mmpretrain, mmdet, mmseg and mmpose)')
def find_inverted_residual_stages(backbone: nn.Module
                                  ) -> Optional[List[Stage]]:
    """A stage begins at each block that changes the shape."""
    names = getattr(backbone, 'layers', None)
    if not isinstance(names, list):
        return None
    runs: List[List[Block]] = []
    starts: List[str] = []
    for name in names:
        layer = getattr(backbone, name)
        for module in layer if isinstance(layer, nn.Sequential) else [layer]:
            added = _has_shortcut(module)
            if added is None:  # stem and last convolution
                continue
            if not added or not runs:
                runs.append([])
                starts.append(name)
            runs[-1].append(_sum_block(module) if added else Block(
                module, shortcut=None))
    return [
        Stage(start, tuple(blocks)) for start, blocks in zip(starts, runs)
    ]


def _stages(name: str, parts: Iterable[Iterable[nn.Module]]) -> List[Stage]:
    return [
        Stage(f'{name}.{index}', tuple(map(_sum_block, blocks)))
        for index, blocks in enumerate(parts)
    ]


@register_stage_finder(
    'stages of equal blocks in `stages` (Swin Transformer of mmpretrain, '
    'mmdet and mmseg; ConvNeXt of mmpretrain)')
def find_equal_block_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Swin keeps its blocks in ``blocks``, ConvNeXt's stage is the blocks."""
    stages = getattr(backbone, 'stages', None)
    if not isinstance(stages, nn.ModuleList):
        return None
    parts = [getattr(stage, 'blocks', stage) for stage in stages]
    known = ('SwinBlock', 'ConvNeXtBlock')
    if all(type(block).__name__ in known for blocks in parts
           for block in blocks):
        return _stages('stages', parts)
    return None


@register_stage_finder(
    'encoder layers in `layers` (Vision Transformer and DeiT of mmpretrain, '
    'as one stage; PVT of mmdet; MixVisionTransformer of mmseg)')
def find_encoder_layer_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """ViT has one list of layers, PVT one in each of its stages."""
    layers = getattr(backbone, 'layers', None)
    if not isinstance(layers, nn.ModuleList):
        return None
    known = ('TransformerEncoderLayer', 'PVTEncoderLayer')
    parts = [layers]
    if all(isinstance(layer, nn.ModuleList) for layer in layers):
        # Patch embedding; layers, after a position embedding; a last norm.
        parts = [[m for m in layer[1] if type(m).__name__ in known]
                 for layer in layers]
    if all(blocks and all(type(block).__name__ in known for block in blocks)
           for blocks in parts):
        return _stages('layers', parts)
    return None
