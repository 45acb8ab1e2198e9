"""ResNets of fewer blocks than MMDetection has."""

from mmdet.models.backbones.resnet import BasicBlock, ResNet
from mmdet.registry import MODELS


@MODELS.register_module()
class ShortResNet(ResNet):
    """A ResNet with the blocks of a ResNet-18's subnet."""

    arch_settings = {
        10: (BasicBlock, (1, 1, 1, 1)),
        14: (BasicBlock, (1, 2, 2, 1)),
    }
