"""A config's training without any data: network, image size, subnets."""

from typing import Any, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmst.engine import SubnetSamplerHook
from mmst.subnets import SamplingSpace, SubnetSampler, find_stages

from .toolbox import check_toolbox, enter_scope

# Options in the toolboxes' pipelines that set the size of training images, and
# whether they are (width, height).
SIZES = (('crop_size', False), ('scale', True), ('input_size', True))


def build_backbone(cfg: Config) -> nn.Module:
    """Build the backbone of a config, with random weights."""
    check_toolbox(cfg)
    backbone = cfg.get('model', {}).get('backbone')
    if backbone is None:
        raise ValueError('the config has no model.backbone')
    enter_scope(cfg)
    return MODELS.build(backbone)


def make_training_image(
    cfg: Config, size: Optional[Sequence[int]] = None
) -> Tensor:
    """Make a blank image, (1, 3, H, W), of the training images' size.

    Without a size, (H, W), it is that of the last crop or resize in the
    pipeline; if images keep their aspect ratio, the largest possible one.
    """
    return torch.zeros(1, 3, *(size or _find_pipeline_size(cfg)))


def _find_pipeline_size(cfg: Config) -> Sequence[int]:
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    while dataset:
        for step in reversed(dataset.get('pipeline') or ()):
            for name, width_first in SIZES:
                size = step.get(name)
                size = (size, size) if isinstance(size, int) else size
                if isinstance(size, (list, tuple)) and (
                    [type(length) for length in size] == [int, int]
                ):
                    return tuple(size)[::-1] if width_first else tuple(size)
        # The pipeline of a wrapper (RepeatDataset, MultiImageMixDataset,
        # ConcatDataset) runs after those of its data sets.
        dataset = dataset.get('dataset') or next(
            iter(dataset.get('datasets') or ()), None
        )
    raise ValueError(
        'cannot read the size of the training images from the pipeline of '
        'train_dataloader: set it with --size HEIGHT WIDTH'
    )


def get_class_name(part: Any) -> str:
    """Get the name of a config part's class, without scope; '' if it has none.

    In the new style ``type`` is the class itself or, once dumped, its full
    name.
    """
    kind = part.get('type', '') if isinstance(part, dict) else ''
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return name.rpartition('.')[2]


def read_sampler(
    cfg: Config, backbone: nn.Module, epoch_length: Optional[int] = None
) -> Optional[SubnetSampler]:
    """Read a config's sampler, if it trains subnets, and fit it.

    Args:
        cfg: The config.
        backbone: Its backbone, or its model.
        epoch_length: Iterations per epoch. Without, or ``max_iters`` in the
            config, it is unknown in which iteration subnets begin, and the
            sampler draws from the first one on.
    """
    for options in cfg.get('custom_hooks') or ():
        if get_class_name(options) != 'SubnetSamplerHook':
            continue
        read_by_runner = ('type', 'priority')
        hook = SubnetSamplerHook(
            **{k: v for k, v in options.items() if k not in read_by_runner}
        )
        if hook.sampler.is_off:
            return None
        train_cfg = cfg.get('train_cfg') or {}
        length = train_cfg.get('max_iters') or (
            train_cfg.get('max_epochs', 0) * (epoch_length or 0)
        )
        if length:
            hook.sampler.begin = hook.find_begin(epoch_length, length)
        return hook.sampler.fit(backbone)
    return None


def find_trained_space(cfg: Config, model: nn.Module) -> SamplingSpace:
    """Find the sampling space of a config; without a sampler, all subnets."""
    sampler = read_sampler(cfg, model)
    if sampler is not None:
        return sampler.space
    return SamplingSpace([len(stage) for stage in find_stages(model)])


def check_depths(space: SamplingSpace, depths: Sequence[int]) -> None:
    """Refuse a subnet that the training never drew."""
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
