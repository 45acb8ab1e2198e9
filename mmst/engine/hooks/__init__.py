"""Hooks: what decides on the subnets, and what reports and reseeds."""

from .reseed_hook import ReseedHook
from .subnet_metrics_hook import SubnetMetricsHook
from .subnet_sampler_hook import SubnetSamplerHook

__all__ = ['ReseedHook', 'SubnetMetricsHook', 'SubnetSamplerHook']
