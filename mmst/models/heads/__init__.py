"""The head that teaches subnets."""

from .st_cls_head import STClsHead
from .teaching_check import check_teaching_head

__all__ = ['STClsHead', 'check_teaching_head']
