"""MobileNets: inverted residuals, some of which add their input."""

from typing import List, Optional

from torch import nn

from ..stages import Block, Stage, register_stage_finder
from .sum_block import make_sum_block


def _has_shortcut(module: nn.Module) -> Optional[bool]:
    """Whether an inverted residual block adds its input; None for others."""
    for flag in ('with_res_shortcut', 'use_res_connect'):
        value = getattr(module, flag, None)
        if isinstance(value, bool):
            return value
    return None


@register_stage_finder(
    'inverted residuals, layer0, layer1 ... (MobileNetV2 and MobileNetV3 of '
    'mmpretrain, mmdet, mmseg and mmpose)'
)
def find_inverted_residual_stages(
    backbone: nn.Module,
) -> Optional[List[Stage]]:
    """Find stages, which begin at each block that changes the shape."""
    names = getattr(backbone, 'layers', None)
    if not isinstance(names, list):
        return None
    runs: List[List[Block]] = []
    starts: List[str] = []
    for name in names:
        layer = getattr(backbone, str(name), None)
        if not isinstance(layer, nn.Module):
            return None
        for module in layer if isinstance(layer, nn.Sequential) else [layer]:
            added = _has_shortcut(module)
            if added is None:  # stem and last convolution
                continue
            if not added or not runs:
                runs.append([])
                starts.append(name)
            runs[-1].append(
                make_sum_block(module)
                if added
                else Block(module, shortcut=None)
            )
    return [Stage(start, tuple(blocks)) for start, blocks in zip(starts, runs)]
