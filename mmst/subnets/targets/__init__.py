"""Resize data samples with their images: one function per sample type.

None of these files imports the toolbox that owns the type it is for before a
sample of that type is met.
"""

from . import classification, detection, pose, segmentation  # noqa: F401
from .registry import Resizer, Resizing, register_resizer, resize_samples

__all__ = ['Resizer', 'Resizing', 'register_resizer', 'resize_samples']
