"""Networks for small images."""

from .cifar_densenet import CIFARDenseNet
from .cifar_resnet import CIFARResNet

__all__ = ['CIFARDenseNet', 'CIFARResNet']
