"""DenseNets, whose layers append channels."""

from typing import Any, List, Optional, Sequence, Tuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..readers import Reader
from ..stages import Block, Stage, register_stage_finder


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
        TypeError: If norm layers do not normalise each channel separately.
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
        (name, _list_dense_layers(block), following)
        for name, block, following in parts
    ]
    return [part for part in named if part[1]]


def _get_part(backbone: nn.Module, name: str) -> nn.Module:
    """Get a submodule by its name; an empty one if there is none."""
    part = getattr(backbone, name, None)
    return part if isinstance(part, nn.Module) else nn.Module()


def _list_dense_layers(block: nn.Module) -> List[nn.Module]:
    return [
        module
        for module in block.modules()
        if type(module).__name__ in ('DenseLayer', '_DenseLayer')
        and all(
            isinstance(getattr(module, name, None), nn.Conv2d)
            for name in ('conv1', 'conv2')
        )
    ]


def _make_dense_stage(
    name: str, layers: List[nn.Module], following: nn.Module
) -> Stage:
    growth = layers[0].conv2.out_channels
    readers = [
        Reader(_find_norm(layer, name), index, growth, layer.conv1)
        for index, layer in enumerate(layers)
    ]
    # A transition has a norm and a convolution; after the last dense block
    # there is a norm and at most an activation.
    conv = next(
        (m for m in following.modules() if isinstance(m, nn.Conv2d)), None
    )
    readers.append(
        Reader(
            _find_norm(following, name),
            len(layers),
            growth,
            conv,
            end=following if conv is None else None,
        )
    )
    return Stage(
        name,
        tuple(Block(layer, _append_nothing) for layer in layers),
        tuple(readers),
    )


def _find_norm(part: nn.Module, stage: str) -> _NormBase:
    """Find the norm layer at the beginning of a part of the network."""
    for module in part.modules():
        if isinstance(module, _NormBase):
            return module
    raise TypeError(
        'the norm layers of a DenseNet must be BatchNorm or InstanceNorm, '
        'which can leave channels out, but there is neither in '
        f'{stage} or after it: set norm_cfg in `model.backbone`'
    )


def _append_nothing(features: Sequence[Tensor], *args: Any) -> Tensor:
    """Append no channel: what a skipped dense layer does."""
    first = features[0]
    return first.new_empty(first.shape[0], 0, *first.shape[2:])
