from .backbones import CIFARResNet
from .heads import STClsHead
from .losses import KLMinusLoss

__all__ = ['CIFARResNet', 'KLMinusLoss', 'STClsHead']
