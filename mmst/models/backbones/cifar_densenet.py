"""DenseNets for small images, of 6n + 4 layers."""

from typing import Any

from mmpretrain.models.backbones import DenseNet
from torch import nn

from mmst.registry import MODELS


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
        is_count = isinstance(depth, int)
        num_layers, rest = divmod(depth - 4, 6) if is_count else (0, 0)
        if rest or num_layers < 1:
            raise ValueError(
                f'CIFARDenseNet: depth {depth!r} is not 6n + 4, '
                'such as 40 or 100'
            )
        arch = dict(
            growth_rate=growth_rate,
            depths=[num_layers] * 3,
            init_channels=2 * growth_rate,
        )
        super().__init__(arch, in_channels, **kwargs)
        self.stem = nn.Sequential(
            nn.Conv2d(
                in_channels,
                self.init_channels,
                3,
                stride=stem_stride,
                padding=1,
                bias=False,
            )
        )
