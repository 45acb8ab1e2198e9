"""Networks, the head that teaches subnets, and its loss."""

from mmst import openmmlab  # noqa: F401

from .backbones import CIFARDenseNet, CIFARResNet
from .heads import STClsHead
from .losses import KLMinusLoss

__all__ = ['CIFARDenseNet', 'CIFARResNet', 'KLMinusLoss', 'STClsHead']
