"""DenseNets, whose layers append channels."""

from itertools import repeat
from typing import Any, List, Optional, Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..stages import Block, Stage, register_stage_finder, unwrap_block
from .dense_readers import Reader
from .known_classes import has_known_forward, is_block_of, refuse_mixed


@register_stage_finder(
    'DenseNet of mmpretrain, torchvision and timm, with dense blocks as '
    'stages and dense layers as blocks'
)
def find_dense_stages(backbone: nn.Module) -> Optional[List[Stage]]:
    """Find dense blocks as stages; a skipped layer's features are left out.

    A subnet is the network without the skipped layers, and without the input
    channels that held their features in all later layers: in the dense block,
    in the transition, and after the last dense block in the last norm and the
    layer that takes the backbone's output. That output keeps its width, with
    zeros for what is left out: a linear layer or a convolution then computes
    the same as without these channels.

    Raises:
        TypeError: If norm layers do not normalise each channel separately, or
            a layer may read its input's channels in another way than a
            convolution.
    """
    lists = []
    for name in ('stages', 'transitions', 'features'):
        part: Any = getattr(backbone, name, None)
        is_module = isinstance(part, nn.Module)
        lists.append([*part.named_children()] if is_module else [])
    # mmpretrain has two lists; torchvision and timm have one, alternating.
    parts = [*zip(repeat('stages'), lists[0], lists[1])]
    parts += zip(repeat('features'), lists[2], lists[2][1:])
    stages = []
    for prefix, (name, block), (_, following) in parts:
        block, name = unwrap_block(block), f'{prefix}.{name}'
        # mmpretrain has the layers in a list inside the block.
        children = [*getattr(block, 'block', block).children()]
        layers = [*filter(_is_dense_layer, children)]
        if layers:
            others = [child for child in children if child not in layers]
            refuse_mixed(backbone, name, layers[0], others)
            stages.append(_make_stage(name, layers, following))
    return stages


def _is_dense_layer(module: nn.Module) -> bool:
    names = ('densenet.DenseLayer', 'densenet._DenseLayer')
    return is_block_of(module, names) and has_known_forward(module)


def _make_stage(
    name: str, layers: List[nn.Module], following: nn.Module
) -> Stage:
    parts = [unwrap_block(part) for part in (*layers, following)]
    norms = [_find_norm(part, name) for part in parts]
    added = norms[-1].num_features - norms[0].num_features
    readers = []
    for index, (part, norm) in enumerate(zip(parts, norms)):
        # A transition has a norm and a convolution; after the last dense
        # block there is a norm and at most an activation.
        is_layer = index < len(layers)
        conv = part.conv1 if is_layer else getattr(part, 'conv', None)
        if conv is not None and (
            type(conv).forward is not nn.Conv2d.forward or conv.groups > 1
        ):
            raise TypeError(
                f'{type(conv).__name__} in or after {name} is not a plain '
                'Conv2d: its input channels cannot be left out'
            )
        end = following if conv is None else None
        growth = added // len(layers)
        readers.append(Reader(norm, index, growth, conv, end))
    blocks = tuple(Block(layer, _append_nothing) for layer in layers)
    return Stage(name, blocks, tuple(readers))


def _find_norm(part: nn.Module, stage: str) -> _NormBase:
    """Find the norm layer at the beginning of a part of the network."""
    if not has_known_forward(part):
        raise TypeError(
            f'{type(part).__name__} in or after {stage} has a forward of its '
            'own, which may give features away that lack channels in a subnet'
        )
    norm = next((m for m in part.modules() if isinstance(m, _NormBase)), None)
    if norm is None:
        raise TypeError(
            'the norm layers of a DenseNet must be BatchNorm or InstanceNorm, '
            'which can leave channels out, but there is neither in '
            f'{stage} or after it: set norm_cfg in `model.backbone`'
        )
    if 'weight' not in norm._parameters:
        raise TypeError(
            f'the weight of {type(norm).__name__} in or after {stage} is '
            'computed (pruned or parametrized): channels cannot be left out'
        )
    return norm


def _append_nothing(features: Sequence[Tensor], *args: Any) -> Tensor:
    """Append no channel: what a skipped dense layer does."""
    first = features[0]
    return first.new_empty(first.shape[0], 0, *first.shape[2:])
