"""ResNets for small images, of 6n + 2 layers."""

from typing import Any, Sequence

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock

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
        self,
        depth: int,
        stem_stride: int = 1,
        stem_channels: int = 16,
        base_channels: int = 16,
        num_stages: int = 3,
        strides: Sequence[int] = (1, 2, 2),
        dilations: Sequence[int] = (1, 1, 1),
        out_indices: Sequence[int] = (2,),
        **kwargs: Any,
    ) -> None:
        is_count = isinstance(depth, int)
        num_blocks, rest = divmod(depth - 2, 6) if is_count else (0, 0)
        if rest or num_blocks < 1:
            raise ValueError(
                f'CIFARResNet: depth {depth!r} is not 6n + 2, such as 20 or 56'
            )
        # Where the base class looks the depth up.
        self.arch_settings = {depth: (BasicBlock, (num_blocks,) * 3)}
        self.stem_stride = stem_stride
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=num_stages,
            strides=strides,
            dilations=dilations,
            out_indices=out_indices,
            **kwargs,
        )

    def _make_stem_layer(self, in_channels: int, base_channels: int) -> None:
        super()._make_stem_layer(in_channels, base_channels)
        self.conv1.stride = (self.stem_stride, self.stem_stride)
