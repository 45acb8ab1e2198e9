"""What the analyses read from a config, see :mod:`mmst.launch`."""

from mmst.launch.configured_training import (
    build_backbone,
    make_training_image,
    read_sampler,
)

__all__ = ['build_backbone', 'make_training_image', 'read_sampler']
