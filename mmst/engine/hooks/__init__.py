from .reseed_hook import ReseedHook
from .subnet_sampler_hook import SubnetSamplerHook

__all__ = ['ReseedHook', 'SubnetSamplerHook']
