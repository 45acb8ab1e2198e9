"""DenseNets, whose blocks give channels of their own."""

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
    """A layer that is skipped leaves its features out.

    A subnet is the network one gets by removing the layers, and from all that
    comes after them the input channels that held their features: from later
    layers of the dense block, from the transition, and after the last dense
    block from the last norm and from what takes the backbone's output. That
    output keeps its width; with zero for what is left out, a linear layer or
    a convolution gives what it would give without those channels.

    Raises:
        TypeError: If norm layers are not of the kind that treats each channel
            by itself.
    """
    return [_dense_stage(*parts) for parts in _dense_blocks(backbone)]


def _dense_blocks(
    backbone: nn.Module,
) -> List[Tuple[str, List[nn.Module], nn.Module]]:
    """Name of each dense block, its layers, and the module that follows it."""
    stages, transitions, features = (
        _part(backbone, name) for name in ('stages', 'transitions', 'features')
    )
    # mmpretrain has two lists, torchvision and timm one after the other.
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
        (name, _dense_layers(block), following)
        for name, block, following in parts
    ]
    return [part for part in named if part[1]]


def _part(backbone: nn.Module, name: str) -> nn.Module:
    """A part by its name; an empty one where that is something else."""
    part = getattr(backbone, name, None)
    return part if isinstance(part, nn.Module) else nn.Module()


def _dense_layers(block: nn.Module) -> List[nn.Module]:
    return [
        module
        for module in block.modules()
        if type(module).__name__ in ('DenseLayer', '_DenseLayer')
        and all(
            isinstance(getattr(module, name, None), nn.Conv2d)
            for name in ('conv1', 'conv2')
        )
    ]


def _dense_stage(
    name: str, layers: List[nn.Module], following: nn.Module
) -> Stage:
    growth = layers[0].conv2.out_channels
    readers = [
        Reader(_batch_norm(layer, name), index, growth, layer.conv1)
        for index, layer in enumerate(layers)
    ]
    # A transition convolves what its norm gives; after the last dense block
    # there is a norm and at most an activation.
    conv = next(
        (m for m in following.modules() if isinstance(m, nn.Conv2d)), None
    )
    readers.append(
        Reader(
            _batch_norm(following, name),
            len(layers),
            growth,
            conv,
            end=following if conv is None else None,
        )
    )
    return Stage(
        name,
        tuple(Block(layer, _no_features) for layer in layers),
        tuple(readers),
    )


def _batch_norm(part: nn.Module, stage: str) -> _NormBase:
    """The norm layer that a part of the network begins with."""
    for module in part.modules():
        if isinstance(module, _NormBase):
            return module
    raise TypeError(
        f'the norm layers of a DenseNet have to be BatchNorm or InstanceNorm '
        f'to run without some of their channels, but {stage} or what follows '
        'it has none of these: set norm_cfg in `model.backbone`'
    )


def _no_features(features: Sequence[Tensor], *args: Any) -> Tensor:
    """What a dense layer that is left out adds: no channel."""
    first = features[0]
    return first.new_empty(first.shape[0], 0, *first.shape[2:])
