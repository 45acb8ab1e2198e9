from .subnet_sampler_hook import SubnetSamplerHook

__all__ = ['SubnetSamplerHook']
