"""Networks, the head that teaches subnets, and its loss."""

from mmst.installation import RANGES, check_packages

check_packages(*RANGES)

# ruff: noqa: E402
from mmst.registry import MODELS
from mmst.subnets import KLMinusLoss

from .small_backbones import CIFARDenseNet, CIFARResNet
from .st_cls_head import STClsHead, check_teaching_head

__all__ = [
    'CIFARDenseNet',
    'CIFARResNet',
    'KLMinusLoss',
    'STClsHead',
    'check_teaching_head',
]

MODELS.register_module(module=KLMinusLoss)
