"""Stimulative training: the loops, the hooks and what the tools share."""

from .hooks import SubnetSamplerHook
from .loops import STEpochBasedTrainLoop, STIterBasedTrainLoop
from .toolbox import find_bases_by_import_name

__all__ = [
    'STEpochBasedTrainLoop',
    'STIterBasedTrainLoop',
    'SubnetSamplerHook',
]

find_bases_by_import_name()
