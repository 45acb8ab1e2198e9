from .hooks import SubnetSamplerHook
from .loops import STEpochBasedTrainLoop, STIterBasedTrainLoop

__all__ = [
    'STEpochBasedTrainLoop',
    'STIterBasedTrainLoop',
    'SubnetSamplerHook',
]
