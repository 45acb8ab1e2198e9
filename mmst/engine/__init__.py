"""Stimulative training: the loops, their step, and the hooks."""

from mmst.installation import RANGES, check_packages

check_packages(*RANGES)

# ruff: noqa: E402
from .hooks import ReseedHook, SubnetMetricsHook, SubnetSamplerHook
from .loops import STEpochBasedTrainLoop, STIterBasedTrainLoop
from .step import reduce_gradients, st_step

__all__ = [
    'ReseedHook',
    'STEpochBasedTrainLoop',
    'STIterBasedTrainLoop',
    'SubnetMetricsHook',
    'SubnetSamplerHook',
    'reduce_gradients',
    'st_step',
]
