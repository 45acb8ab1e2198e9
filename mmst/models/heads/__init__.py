"""The head that teaches subnets."""

from .st_cls_head import STClsHead

__all__ = ['STClsHead']
