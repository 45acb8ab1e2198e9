"""DenseNets, whose layers append channels."""

from typing import Any, List, Optional, Sequence, Tuple

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
    return [
        _make_dense_stage(*parts) for parts in _list_dense_blocks(backbone)
    ]


def _list_dense_blocks(
    backbone: nn.Module,
) -> List[Tuple[str, List[nn.Module], nn.Module]]:
    """List the dense blocks: name, layers, and the module that follows."""
    stages, transitions, features = (
        _get_part(backbone, name)
        for name in ('stages', 'transitions', 'features')
    )
    # mmpretrain has two lists; torchvision and timm have one, alternating.
    parts = [
        (f'stages.{name}', block, following)
        for (name, block), following in zip(
            stages.named_children(), transitions.children()
        )
    ]
    children = list(features.named_children())
    parts += [
        (f'features.{name}', block, following)
        for (name, block), (_, following) in zip(children, children[1:])
    ]
    named = [
        (name, _list_dense_layers(backbone, name, block), following)
        for name, block, following in parts
    ]
    return [part for part in named if part[1]]


def _get_part(backbone: nn.Module, name: str) -> nn.Module:
    """Get a submodule by its name; an empty one if there is none."""
    part = getattr(backbone, name, None)
    return part if isinstance(part, nn.Module) else nn.Module()


def _list_dense_layers(
    backbone: nn.Module, name: str, block: nn.Module
) -> List[nn.Module]:
    block = unwrap_block(block)
    # mmpretrain has the layers in a list inside the block.
    block = block.block if hasattr(block, 'block') else block
    children = list(block.children())
    layers = list(filter(_is_dense_layer, children))
    if layers:
        others = (child for child in children if child not in layers)
        refuse_mixed(backbone, name, layers[0], others)
    return layers


def _is_dense_layer(module: nn.Module) -> bool:
    names = ('densenet.DenseLayer', 'densenet._DenseLayer')
    return is_block_of(module, names) and has_known_forward(module)


def _make_dense_stage(
    name: str, layers: List[nn.Module], following: nn.Module
) -> Stage:
    parts = [unwrap_block(part) for part in (*layers, following)]
    norms = [_find_norm(part, name) for part in parts]
    added = norms[-1].num_features - norms[0].num_features
    # A transition has a norm and a convolution; after the last dense block
    # there is a norm and at most an activation.
    convs = [layer.conv1 for layer in parts[:-1]]
    convs.append(getattr(parts[-1], 'conv', None))
    for conv in convs:
        _check_conv(conv, name)
    return Stage(
        name,
        tuple(Block(layer, _append_nothing) for layer in layers),
        tuple(
            Reader(norm, index, added // len(layers), conv)
            if conv is not None
            else Reader(norm, index, added // len(layers), end=following)
            for index, (norm, conv) in enumerate(zip(norms, convs))
        ),
    )


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


def _check_conv(conv: Optional[nn.Module], stage: str) -> None:
    """Refuse a layer in which input channels cannot be left out."""
    is_plain = isinstance(conv, nn.Conv2d) and conv.groups == 1
    if conv is None or (is_plain and type(conv).forward is nn.Conv2d.forward):
        return
    raise TypeError(
        f'{type(conv).__name__} in or after {stage} is not a plain Conv2d: '
        'its input channels cannot be left out'
    )


def _append_nothing(features: Sequence[Tensor], *args: Any) -> Tensor:
    """Append no channel: what a skipped dense layer does."""
    first = features[0]
    return first.new_empty(first.shape[0], 0, *first.shape[2:])
