"""Networks made of lists of equal blocks: transformers and ConvNeXt."""

from typing import Iterator, List, Optional, Tuple, Union

from torch import nn

from ..stages import Block, Stage, register_stage_finder, unwrap_block
from .known_classes import (
    has_known_forward,
    is_block_of,
    make_sum_block,
    refuse_mixed,
)

# Ends of full class names. All keep the shape of their input, and all but
# PyTorch's own add it last.
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
Blocks = Union[nn.ModuleList, nn.Sequential]


@register_stage_finder(
    'lists of equal blocks: Vision Transformer and DeiT (as one stage), Swin '
    'Transformer, PVT, MixVisionTransformer and ConvNeXt of mmpretrain, '
    'mmdet, mmseg, mmpose, torchvision and timm'
)
def find_equal_block_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Find each list of blocks as a stage.

    Raises:
        TypeError: If a list has other blocks, too, or blocks whose own
            forward may return anything.
    """
    return [
        _make_stage(backbone, name, owner, children)
        for name, owner, children in _iter_block_lists(backbone)
    ]


def _iter_block_lists(
    module: nn.Module, prefix: str = ''
) -> Iterator[Tuple[str, nn.Module, Blocks]]:
    """Yield each list that has known blocks: its name, its parent, itself."""
    for name, wrapped in module.named_children():
        child = unwrap_block(wrapped)
        # A stage or an encoder is around a list.
        inner = (getattr(child, n, None) for n in ('blocks', 'layers'))
        if isinstance(child, _LISTS) and any(map(_is_known, child)):
            yield prefix + name, module, child
        elif any(isinstance(part, _LISTS) for part in (child, *inner)):
            yield from _iter_block_lists(child, f'{prefix}{name}.')


def _is_known(block: nn.Module) -> bool:
    return is_block_of(block, _BLOCKS)


def _make_stage(
    backbone: nn.Module, name: str, parent: nn.Module, children: Blocks
) -> Stage:
    blocks = list(filter(_is_known, children))
    # PVT's lists begin with a position embedding, and an exported ViT has
    # identities where blocks were. Neither has layers with weights inside.
    others = [
        child
        for child in children
        if child not in blocks
        and any([*inner.parameters()] for inner in child.children())
    ]
    refuse_mixed(backbone, name, blocks[0], others)
    # One tensor goes from block to block in a Sequential, and in a list of a
    # known package's own network.
    is_chain = isinstance(children, nn.Sequential) or has_known_forward(parent)
    for block in blocks:
        if not is_chain and not has_known_forward(block):
            raise TypeError(
                f'no residual stages found in {type(backbone).__name__}: the '
                f'blocks of {name}, {type(unwrap_block(block)).__name__}, '
                'have a forward of their own, which may return more than a '
                "tensor of its input's shape. Add the network with "
                '`mmst.subnets.register_stage_finder`'
            )
    return Stage(name, tuple(map(_make_block, blocks)))


def _make_block(module: nn.Module) -> Block:
    # PyTorch's own may normalise last.
    if isinstance(unwrap_block(module), nn.TransformerEncoderLayer):
        return Block(module)
    return make_sum_block(module)
