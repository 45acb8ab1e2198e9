"""Export subnets as separate models for the stock toolboxes."""

from .formats import FORMATS
from .standalone import check_out, write_standalone

__all__ = [
    'FORMATS',
    'check_out',
    'write_standalone',
]
