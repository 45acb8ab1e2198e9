"""Resize ground truth with its image: one handler per type of sample.

A toolbox is only imported once a sample of it is met.
"""

from . import classification, detection, pose, segmentation  # noqa: F401
from .fields import Resizing, find_batch_rule, keep, register_field
from .handler import (
    SampleHandler,
    check_reproduced,
    find_handler,
    register_handler,
    resize_samples,
)

__all__ = [
    'Resizing',
    'SampleHandler',
    'check_reproduced',
    'find_batch_rule',
    'find_handler',
    'keep',
    'register_field',
    'register_handler',
    'resize_samples',
]
