"""Networks made of lists of equal blocks: transformers and ConvNeXt."""

from typing import Iterator, List, Optional, Tuple

from torch import nn

from ..stages import Stage, register_stage_finder
from .sum_block import make_sum_block

# Ends of full class names. All add their input and keep its shape.
_BLOCKS = (
    # Transformers of mmpretrain, mmdet, mmseg and mmpose
    'SwinBlock',
    'TransformerEncoderLayer',
    'PVTEncoderLayer',
    # of torchvision and timm
    'torchvision.models.vision_transformer.EncoderBlock',
    'timm.models.vision_transformer.Block',
    'SwinTransformerBlock',
    # ConvNeXt of mmpretrain and timm, of torchvision
    'ConvNeXtBlock',
    'torchvision.models.convnext.CNBlock',
)
_LISTS = (nn.ModuleList, nn.Sequential)


@register_stage_finder(
    'lists of equal blocks: Vision Transformer and DeiT (as one stage), Swin '
    'Transformer, PVT, MixVisionTransformer and ConvNeXt of mmpretrain, '
    'mmdet, mmseg, mmpose, torchvision and timm'
)
def find_equal_block_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Find each list of blocks as a stage."""
    stages = []
    for name, children in _iter_block_lists(backbone):
        blocks = [child for child in children if _is_known(child)]
        # PVT's lists begin with a position embedding; EdgeNeXt's end with
        # another kind of block.
        if children[-len(blocks) :] != blocks:
            return None
        stages.append(Stage(name, tuple(map(make_sum_block, blocks))))
    return stages


def _iter_block_lists(
    module: nn.Module, prefix: str = ''
) -> Iterator[Tuple[str, List[nn.Module]]]:
    """Yield name and content of each list that has known blocks."""
    for name, child in module.named_children():
        if isinstance(child, _LISTS) and any(map(_is_known, child)):
            # An exported ViT has identities where blocks were.
            yield (
                prefix + name,
                [m for m in child if not isinstance(m, nn.Identity)],
            )
        elif isinstance(child, _LISTS) or _has_list(child):
            yield from _iter_block_lists(child, f'{prefix}{name}.')


def _is_known(block: nn.Module) -> bool:
    cls = type(block)
    full_name = f'.{cls.__module__}.{cls.__qualname__}'
    return full_name.endswith(tuple(f'.{name}' for name in _BLOCKS))


def _has_list(module: nn.Module) -> bool:
    """Whether a module is a stage or an encoder around a list."""
    return any(
        isinstance(getattr(module, name, None), _LISTS)
        for name in ('blocks', 'layers')
    )
