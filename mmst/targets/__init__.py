"""Resize ground truth with its image: one handler per type of sample.

A toolbox is only imported once a sample of it is met.
"""

from . import classification, detection, pose, segmentation  # noqa: F401
from .fields import keep, register_field
from .handler import (
    SampleHandler,
    find_handler,
    prepare_dataset,
    register_handler,
    resize_samples,
)
from .resizing import Resizing

__all__ = [
    'Resizing',
    'SampleHandler',
    'find_handler',
    'keep',
    'prepare_dataset',
    'register_field',
    'register_handler',
    'resize_samples',
]
