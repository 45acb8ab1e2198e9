"""Networks made of lists of equal blocks: transformers and ConvNeXt."""

from typing import Iterator, List, Optional, Tuple, Union

from torch import nn

from ..stages import (
    Block,
    Stage,
    make_sum_block,
    register_stage_finder,
    unwrap_block,
)
from .known_classes import has_known_forward, is_block_of, refuse_mixed

# Ends of full class names. All keep the shape of their input, and all but
# PyTorch's own, which may normalise last, add it last.
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
        if isinstance(child, _LISTS) and any(map(_is_known, child)):
            yield prefix + name, module, child
        elif isinstance(child, _LISTS) or _has_list(child):
            yield from _iter_block_lists(child, f'{prefix}{name}.')


def _is_known(block: nn.Module) -> bool:
    return is_block_of(block, _BLOCKS)


def _has_list(module: nn.Module) -> bool:
    """Whether a module is a stage or an encoder around a list."""
    return any(
        isinstance(getattr(module, name, None), _LISTS)
        for name in ('blocks', 'layers')
    )


def _make_stage(
    backbone: nn.Module, name: str, parent: nn.Module, children: Blocks
) -> Stage:
    blocks = list(filter(_is_known, children))
    refuse_mixed(
        backbone,
        name,
        blocks[0],
        # PVT's lists begin with a position embedding, which has no layers; an
        # exported ViT has identities where blocks were.
        (m for m in children if m not in blocks and _has_layers(m)),
    )
    # A list hands from block to block is one tensor, as is what goes
    # through a list in a known package's own network.
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


def _has_layers(module: nn.Module) -> bool:
    """Whether a module has layers with weights inside."""
    return any([*child.parameters()] for child in module.children())


def _make_block(module: nn.Module) -> Block:
    adds_last = not isinstance(
        unwrap_block(module), nn.TransformerEncoderLayer
    )
    if adds_last and has_known_forward(module):
        return make_sum_block(module)
    return Block(module)
