"""Stimulative training: the loops, the hooks and what the tools share."""

from .hooks import SubnetSamplerHook
from .loops import STEpochBasedTrainLoop, STIterBasedTrainLoop

__all__ = [
    'STEpochBasedTrainLoop',
    'STIterBasedTrainLoop',
    'SubnetSamplerHook',
]
