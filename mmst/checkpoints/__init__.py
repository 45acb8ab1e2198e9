"""Checkpoints of other projects, and checkpoints to publish."""

from .checkpoint_file import (
    read_checkpoint,
    select_state_dict,
    write_checkpoint,
)
from .published import strip_checkpoint
from .resnet_keys import LAYOUTS, RESNETS, convert_resnet

__all__ = [
    'LAYOUTS',
    'RESNETS',
    'convert_resnet',
    'read_checkpoint',
    'select_state_dict',
    'strip_checkpoint',
    'write_checkpoint',
]
