"""Export a subnet as a separate model, without skipped blocks."""

import copy
from typing import Iterator, List, NamedTuple, Optional, Sequence

from torch import nn

from .families.dense_readers import Reader, find_readers
from .stages import (
    Stage,
    find_backbone,
    find_stages,
    keep_input,
    unwrap_block,
    unwrap_model,
)
from .subnet import Subnet

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Change(NamedTuple):
    """One step from a model to its subnet.

    Attributes:
        name: The module's name in the model, such as ``backbone.layer3.5``.
        kind: 'remove' removes the module from the end of its list;
            'identity' replaces it by an identity; 'narrow' keeps the first
            channels of its input.
        width: Number of channels to keep, for 'narrow'.
    """

    name: str
    kind: str
    width: Optional[int] = None

    def apply(self, model: nn.Module) -> None:
        """Make the change to a model."""
        parent, _, child = self.name.rpartition('.')
        if self.width is not None:
            narrow(model.get_submodule(self.name), self.width)
        elif self.kind == 'remove':
            delattr(model.get_submodule(parent), child)
        else:
            setattr(model.get_submodule(parent), child, nn.Identity())


def export_subnet(model: nn.Module, depths: Sequence[int]) -> nn.Module:
    """Copy a model without the blocks that an ordered subnet skips.

    In evaluation mode the copy computes the same as the model inside
    ``activate(model, depths)``. Names and weights of what it keeps stay the
    same. BatchNorm statistics are the main network's, which fit no subnet
    well: re-estimate them.

    Blocks are deleted from their lists. If blocks are not in lists, or one
    list is the whole backbone (MobileNetV3; the Vision Transformer),
    ``out_indices`` counts them, so they are replaced by identities.

    In a DenseNet the layers after a shortened stage, up to the classifier,
    lose the input channels of the skipped blocks. A DenseNet backbone alone
    then outputs fewer channels, where the active subnet outputs zeros.

    Args:
        model: A model, a backbone or anything that
            :func:`mmst.subnets.activate` takes.
        depths: Number of blocks to keep in each stage.

    Raises:
        TypeError: If the model's stages cannot be found.
        ValueError: If the depths do not fit, or blocks cannot be removed.

    Example:
        >>> small = export_subnet(model, (1, 2, 1, 2))
        >>> [len(stage) for stage in find_stages(small)]
        [1, 2, 1, 2]
    """
    model = unwrap_model(model)
    changes = list_changes(model, depths)
    small = copy.deepcopy(model)
    for change in changes:
        change.apply(small)
    return small


def list_changes(model: nn.Module, depths: Sequence[int]) -> List[Change]:
    """List the changes that :func:`export_subnet` makes to a copy."""
    stages = find_stages(model)
    # Reject depths that do not fit.
    Subnet.ordered(depths, [len(stage) for stage in stages])
    return [
        change
        for stage, depth in zip(stages, depths)
        if depth < len(stage)
        for change in _iter_stage_changes(model, stage, depth)
    ]


def _iter_stage_changes(
    model: nn.Module, stage: Stage, depth: int
) -> Iterator[Change]:
    skipped = stage.blocks[depth:]
    if not stage.readers and any(
        block.shortcut is not keep_input for block in skipped
    ):
        raise ValueError(
            f'{stage.name} cannot be cut to {depth} blocks, because a later '
            'block changes its input even when it is skipped: keep the stage '
            'whole'
        )
    modules = [block.module for block in skipped]
    names = {module: name for name, module in model.named_modules()}
    parent = model.get_submodule(names[modules[0]].rpartition('.')[0])
    # In a list that is one of several stages, the last blocks can go. One of
    # PyTorch's TransformerEncoder counts nothing either.
    can_go = isinstance(parent, _LISTS) and (
        [*parent.children()][-len(modules) :] == modules
        and (
            len(find_stages(model)) > 1
            or isinstance(unwrap_block(modules[0]), nn.TransformerEncoderLayer)
        )
    )
    for module in modules:
        yield Change(names[module], 'remove' if can_go else 'identity')
    for reader in stage.readers:
        if reader.num_blocks < len(stage):
            continue
        width = reader.norm.num_features - len(skipped) * reader.growth
        for layer in _list_narrowed_layers(model, reader):
            if 'weight' not in layer._parameters:
                raise ValueError(
                    f'{names[layer]} computes its weight (it is pruned or '
                    'parametrized), which cannot be cut: make it a plain '
                    'weight first, with torch.nn.utils.prune.remove, '
                    'parametrize.remove_parametrizations, '
                    'remove_weight_norm or remove_spectral_norm'
                )
            yield Change(names[layer], 'narrow', width)


def _list_narrowed_layers(model: nn.Module, reader: Reader) -> List[nn.Module]:
    """List the layers that lose the channels of removed blocks."""
    if reader.conv is not None:
        return [reader.norm, reader.conv]
    # At the network's end: the classifier reads the norm's output.
    backbone, width = find_backbone(model), reader.norm.num_features
    after = reader.list_after_end(model, backbone)
    if not after:
        return [reader.norm]
    found = find_readers(after, width)
    if len(found) == 1 and type(found[0][1]).forward is nn.Linear.forward:
        return [reader.norm, found[0][1]]
    told = ', '.join(f'`{name}`' for name, _ in found or after[:3])
    raise ValueError(
        f'the last stage of {type(backbone).__name__} cannot be cut, because '
        f'its {width} features are not read by one linear layer alone, but '
        f'by {told}: keep that stage whole'
    )


def narrow(layer: nn.Module, width: int) -> None:
    """Make a norm, convolution or linear layer read its first channels."""
    # Norms have one number per channel; weights have channels second.
    dim = 0 if hasattr(layer, 'num_features') else 1
    for tensor in [
        *layer.parameters(recurse=False),
        *layer.buffers(recurse=False),
    ]:
        if tensor.dim() > dim:
            tensor.data = tensor.data.narrow(dim, 0, width).clone()
    for name in ('num_features', 'in_channels', 'in_features'):
        if hasattr(layer, name):
            setattr(layer, name, width)
