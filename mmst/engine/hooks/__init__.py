"""Hooks that choose subnets, report on them, and reseed."""

from .reseed_hook import ReseedHook
from .subnet_metrics_hook import SubnetMetricsHook
from .subnet_sampler_hook import SubnetSamplerHook

__all__ = ['ReseedHook', 'SubnetMetricsHook', 'SubnetSamplerHook']
