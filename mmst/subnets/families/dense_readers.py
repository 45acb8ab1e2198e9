"""Layers that read the concatenated features of a stage, as in DenseNet."""

from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..stages import replace_forward
from ..subnet import Path


@dataclass(frozen=True, eq=False)
class Reader:
    """A norm layer and what follows it, which read concatenated features.

    Their input is the stage's input, then the features of its first blocks.
    In a subnet they run without the channels of skipped blocks, as layers
    built for fewer channels would.

    Attributes:
        norm: The norm layer.
        num_blocks: Number of the stage's blocks whose features it reads.
        growth: Number of channels that each block adds.
        conv: The convolution that follows the norm, if any.
        end: If there is none, at the network's end: the module whose output
            keeps its number of channels, with zeros for those left out.
    """

    norm: _NormBase
    num_blocks: int
    growth: int
    conv: Optional[nn.Conv2d] = None
    end: Optional[nn.Module] = None

    @contextmanager
    def narrow(self, paths: Sequence[Path]) -> Iterator[None]:
        """Read only the features of blocks that run.

        Args:
            paths: The path through each block of the stage.
        """
        kept = self._list_kept_channels(paths)
        with ExitStack() as stack:
            if len(kept) < self.norm.num_features:
                forward = _make_norm_forward(self.norm, kept)
                stack.enter_context(replace_forward(self.norm, forward))
                if self.conv is not None:
                    forward = _make_conv_forward(self.conv, kept)
                    stack.enter_context(replace_forward(self.conv, forward))
                if self.end is not None:
                    forward = _widen_forward(
                        self.end.forward, kept, self.norm.num_features
                    )
                    stack.enter_context(replace_forward(self.end, forward))
            yield

    def _list_kept_channels(self, paths: Sequence[Path]) -> List[int]:
        first = self.norm.num_features - self.num_blocks * self.growth
        kept = list(range(first))
        for index, path in enumerate(paths[: self.num_blocks]):
            if path is not Path.SHORTCUT:
                start = first + index * self.growth
                kept.extend(range(start, start + self.growth))
        return kept

    def count_flops_per_block(self, flops: int) -> int:
        """Count the convolution's FLOPs on the features of one block.

        Args:
            flops: FLOPs of the convolution on its full input.
        """
        return flops * self.growth // self.norm.num_features

    def list_after_end(
        self, model: nn.Module, backbone: nn.Module
    ) -> List[Tuple[str, nn.Module]]:
        """List the layers with weights that follow the network's end.

        Args:
            model: The whole model.
            backbone: The network that the reader is the last of.

        Returns:
            list: Names and layers: all of the model that are not in the
            network, or come after its last norm.
        """
        modules = list(backbone.modules())
        before = set(modules[: modules.index(self.norm) + 1])
        return [
            (name, module)
            for name, module in model.named_modules()
            if module not in before
            and (isinstance(module, _NORMS) or [*module.parameters(False)])
        ]

    def check_end(self, model: nn.Module, backbone: nn.Module) -> None:
        """Refuse a model that normalises the features at the network's end.

        Zeros, which stand for the features of skipped blocks, would not stay
        zeros there.

        Args:
            model: The whole model.
            backbone: The network that the reader is the last of.

        Raises:
            TypeError: If it does.
        """
        if self.end is None:
            return
        width = self.norm.num_features
        readers = find_readers(self.list_after_end(model, backbone), width)
        for name, layer in readers:
            if isinstance(layer, _NORMS):
                raise TypeError(
                    f'{type(layer).__name__} `{name}` normalises the output '
                    f'of {type(backbone).__name__}, in which zeros stand for '
                    'the features of skipped layers: put the norm after a '
                    'linear layer or a convolution'
                )


_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def find_readers(
    layers: Sequence[Tuple[str, nn.Module]], width: int
) -> List[Tuple[str, nn.Module]]:
    """Find the layers that may read features of some width.

    Args:
        layers: Names and layers, in their order in the model.
        width: Number of channels of the features.

    Returns:
        list: The layers. If the first one keeps the width, the others are
        taken for layers that follow it.
    """
    readers = [
        (name, layer) for name, layer in layers if _may_read(layer, width)
    ]
    if readers and width in (
        getattr(readers[0][1], 'out_features', None),
        getattr(readers[0][1], 'out_channels', None),
    ):
        return readers[:1]
    return readers


def _may_read(layer: nn.Module, width: int) -> bool:
    for name in ('in_features', 'in_channels', 'num_features', 'num_channels'):
        if hasattr(layer, name):
            return bool(getattr(layer, name) == width)
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0] == width
    return any(width in p.shape for p in layer.parameters(recurse=False))


Forward = Callable[[Tensor], Tensor]


def _make_norm_forward(norm: _NormBase, kept: Sequence[int]) -> Forward:
    """Make the forward of a norm layer with only some of its channels.

    Gradients still reach the original parameters, and batches are still
    counted in the original layer.
    """

    def forward(x: Tensor) -> Tensor:
        index = torch.tensor(kept, device=x.device)
        small = copy(norm)
        for kind in ('_parameters', '_buffers'):
            vars(small)[kind] = {
                name: value
                if value is None or value.dim() == 0
                else value.index_select(0, index)
                for name, value in vars(norm)[kind].items()
            }
        small.num_features = len(kept)
        out = type(norm).forward(small, x)
        if norm.training and norm.track_running_stats:
            for name in ('running_mean', 'running_var'):
                # Hidden from autograd: graphs of earlier passes may still
                # hold these buffers.
                getattr(norm, name).data[index] = getattr(small, name)
        return out

    return forward


def _make_conv_forward(conv: nn.Conv2d, kept: Sequence[int]) -> Forward:
    """Make the forward of a convolution with only some input channels.

    Its weight may be computed, as that of a pruned or parametrized one is.
    """

    def forward(x: Tensor) -> Tensor:
        index = torch.tensor(kept, device=x.device)
        weight = conv.weight.index_select(1, index)
        return conv._conv_forward(x, weight, conv.bias)

    return forward


def _widen_forward(
    forward: Forward, kept: Sequence[int], width: int
) -> Forward:
    """Make a forward whose output has zeros for channels left out."""

    def forward_among_zeros(x: Tensor) -> Tensor:
        out = forward(x)
        zeros = out.new_zeros(out.shape[0], width, *out.shape[2:])
        index = torch.tensor(kept, device=x.device)
        return zeros.index_copy(1, index, out)

    return forward_among_zeros
