"""ResNets, and networks with their layout."""

from contextlib import contextmanager
from itertools import count
from typing import Any, Iterator, List, Optional, Tuple

from torch import Tensor, nn

from ..stages import Block, Shortcut, Stage, keep_input, register_stage_finder


class _Zero(nn.Module):
    """Replaces a shortcut and adds nothing.

    Args:
        shortcut: The replaced one, which copies of the block get.
    """

    def __init__(self, shortcut: Optional[nn.Module]) -> None:
        super().__init__()
        self._shortcut = (shortcut,)  # not a child: it does not run

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())

    def __reduce__(self) -> Tuple[Any, ...]:
        return _return_shortcut, self._shortcut


def _return_shortcut(shortcut: Optional[nn.Module]) -> Optional[nn.Module]:
    return shortcut


@contextmanager
def _remove_shortcut(block: nn.Module) -> Iterator[None]:
    """Make a ResNet block add zero instead of its shortcut."""
    downsample = block.downsample
    block.downsample = _Zero(downsample)
    try:
        yield
    finally:
        block.downsample = downsample


def _make_downsampling_shortcut(block: nn.Module) -> Shortcut:
    """Make the shortcut of a ResNet block that changes the shape."""
    # mm and torchvision blocks share one `relu`; timm numbers them, and the
    # last one follows the addition.
    names = [n for n in ('relu', 'act3', 'act2') if hasattr(block, n)]
    if not names:
        raise TypeError(
            f'{type(block).__name__} has a `downsample`, but no `relu`, '
            '`act3` or `act2` to apply after it'
        )
    return lambda x, *args, **kwargs: getattr(block, names[0])(
        block.downsample(x)
    )


def make_resnet_block(module: nn.Module) -> Block:
    """Make a block that has a ``downsample``, as a ResNet's has."""
    if module.downsample is None:
        return Block(module, keep_input, _remove_shortcut)
    return Block(module, _make_downsampling_shortcut(module), _remove_shortcut)


def _has_downsample(block: nn.Module) -> bool:
    shortcut = getattr(block, 'downsample', 'none of this name')
    return shortcut is None or isinstance(shortcut, nn.Module)


@register_stage_finder(
    'the ResNet layout, layer1, layer2 ... of blocks with a `downsample` '
    '(ResNet, ResNetV1c/d, ResNet_CIFAR, CIFARResNet, ResNeXt, SE-ResNet, '
    'SE-ResNeXt, Res2Net, ResNeSt, RegNet of mmpretrain, mmdet, mmseg and '
    'mmpose; ResNets of torchvision and timm)'
)
def find_resnet_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Find the stages of a network with the attributes of a ResNet."""
    stages = []
    for index in count(1):
        layer = getattr(backbone, f'layer{index}', None)
        if not isinstance(layer, nn.Sequential):
            break
        if any(hasattr(block, 'concat_output') for block in layer):
            continue  # TridentNet: the last block joins a list of branches
        if not all(map(_has_downsample, layer)):
            return None
        if any(block.downsample is not None for block in list(layer)[1:]):
            return None
        stages.append(
            Stage(f'layer{index}', tuple(map(make_resnet_block, layer)))
        )
    # HRNet has a `layer1`, too, but not the rest.
    return stages if len(stages) > 1 else None
