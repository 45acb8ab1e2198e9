"""Networks for small images, of any depth that their form has."""

from typing import Any

from mmpretrain.models.backbones import DenseNet, ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import nn

from mmst.registry import MODELS


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """ResNet-20, ResNet-56 and others of the CIFAR experiments (Fig. 1).

    Three stages of n basic blocks with 16, 32 and 64 channels after a 3 x 3
    stem; mmpretrain's ``ResNet_CIFAR`` has only the depths of ImageNet.

    Args:
        depth: 6n + 2, such as 20, 56 or 110.
        stem_stride: Stride of the stem. 1 is the original; 2 makes the
            network four times cheaper.
        **kwargs: Passed to mmpretrain's ``ResNet``.

    Raises:
        ValueError: If the depth is not 6n + 2.

    Example:
        >>> (features,) = CIFARResNet(20)(torch.zeros(1, 3, 32, 32))
        >>> features.shape
        torch.Size([1, 64, 8, 8])
    """

    def __init__(
        self, depth: int, stem_stride: int = 1, **kwargs: Any
    ) -> None:
        num_blocks = _divide_depth('CIFARResNet', depth, rest=2)
        # Where the base class looks the depth up.
        self.arch_settings = {depth: (BasicBlock, (num_blocks,) * 3)}
        widths: Any = dict(stem_channels=16, base_channels=16, num_stages=3)
        form = dict(strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
        super().__init__(depth, **{**widths, **form, **kwargs})
        self.conv1.stride = (stem_stride, stem_stride)


@MODELS.register_module()
class CIFARDenseNet(DenseNet):
    """DenseNet-BC-40 to DenseNet-BC-250 of the CIFAR experiments (Fig. 4).

    Three dense blocks of n bottleneck layers after a 3 x 3 stem, transitions
    that halve the channels; mmpretrain's ``DenseNet`` has only the stem of
    ImageNet.

    Args:
        depth: 6n + 4, such as 40 or 100.
        growth_rate: Channels that each layer adds.
        stem_stride: Stride of the stem. 1 is the original; 2 makes the
            network four times cheaper.
        in_channels: Channels of the image.
        **kwargs: Passed to mmpretrain's ``DenseNet``.

    Raises:
        ValueError: If the depth is not 6n + 4.

    Example:
        >>> (features,) = CIFARDenseNet(40)(torch.zeros(1, 3, 32, 32))
        >>> features.shape
        torch.Size([1, 132, 8, 8])
    """

    def __init__(
        self,
        depth: int,
        growth_rate: int = 12,
        stem_stride: int = 1,
        in_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        num_layers = _divide_depth('CIFARDenseNet', depth, rest=4)
        width = 2 * growth_rate
        arch = dict(growth_rate=growth_rate, depths=[num_layers] * 3)
        super().__init__(
            dict(arch, init_channels=width), in_channels, **kwargs
        )
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stem_stride, 1, bias=False)
        )


def _divide_depth(network: str, depth: int, rest: int) -> int:
    """Compute n of a network with 6n + rest layers."""
    num_units = depth // 6 if isinstance(depth, int) else 0
    if num_units < 1 or depth != 6 * num_units + rest:
        raise ValueError(
            f'{network}: depth {depth!r} is not 6n + {rest}, such as '
            f'{18 + rest} or {36 + rest}'
        )
    return num_units
