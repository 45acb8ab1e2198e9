"""MobileNets: inverted residuals, some of which add their input."""

from typing import List, Optional, Tuple

from torch import nn

from ..stages import Block, Stage, register_stage_finder, unwrap_block
from .known_classes import make_sum_block, refuse_mixed


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
    runs: List[Tuple[str, List[Block]]] = []
    others: List[nn.Module] = []
    for name in names:
        layer = getattr(backbone, str(name), None)
        if not isinstance(layer, nn.Module):
            return None
        layer = unwrap_block(layer)
        for module in layer if isinstance(layer, nn.Sequential) else [layer]:
            adds_input = _adds_input(module)
            if adds_input is None:
                # The stem and the last convolution are no blocks.
                if type(unwrap_block(module)).__name__ != 'ConvModule':
                    others.append(module)
                continue
            if not adds_input or not runs:
                runs.append((name, []))
            runs[-1][1].append(
                make_sum_block(module) if adds_input else Block(module, None)
            )
    if runs:
        refuse_mixed(backbone, 'layers', runs[0][1][0].module, others)
    return [Stage(name, tuple(blocks)) for name, blocks in runs]


def _adds_input(module: nn.Module) -> Optional[bool]:
    """Whether an inverted residual block adds its input; None for others."""
    for flag in ('with_res_shortcut', 'use_res_connect'):
        value = getattr(unwrap_block(module), flag, None)
        if isinstance(value, bool):
            return value
    return None
