"""Subnets as models of their own, for the stock toolboxes."""

from .formats import FORMATS
from .standalone import check_out, write_standalone
from .trained_space import check_depths, trained_space

__all__ = [
    'FORMATS',
    'check_depths',
    'check_out',
    'trained_space',
    'write_standalone',
]
