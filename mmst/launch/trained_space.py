"""The sampling space of a config's training."""

from typing import List, Sequence

from mmengine.config import Config
from torch import nn

from mmst.subnets import SamplingSpace, find_stages

from .configured_training import read_sampler


def find_trained_space(cfg: Config, model: nn.Module) -> SamplingSpace:
    """Find the sampling space of a config; without a sampler, all subnets.

    Args:
        cfg: The config of the training, hooks included.
        model: Its model.

    Raises:
        TypeError: If the model's stages cannot be found.
        ValueError: If the config's space does not fit them.
    """
    sampler = read_sampler(cfg, model)
    if sampler is not None:
        return sampler.space
    return SamplingSpace([len(stage) for stage in find_stages(model)])


def check_depths(space: SamplingSpace, depths: Sequence[int]) -> List[int]:
    """Refuse a subnet that the training never drew.

    Returns:
        list: The depths.

    Raises:
        ValueError: If it is not in the space.
    """
    if len(depths) != len(space.depths) or any(
        depth not in allowed for depth, allowed in zip(depths, space.depths)
    ):
        raise ValueError(
            f'depths {list(depths)} are not in the sampling space of the '
            'training. Its depths, stage by stage: '
            + '; '.join(
                ' or '.join(map(str, sorted(allowed)))
                for allowed in space.depths
            )
            + '. The space is set by `space` or `min_depth` of '
            'SubnetSamplerHook in custom_hooks'
        )
    return list(depths)
