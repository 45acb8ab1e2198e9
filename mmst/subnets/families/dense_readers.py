"""Layers that read the concatenated features of a stage, as in DenseNet."""

from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..stages import Forward, replace_forward
from ..subnet import Path

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


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
        """Read only the features of blocks that run, given their paths."""
        width = self.norm.num_features
        first = width - self.num_blocks * self.growth
        kept = [*range(first)]
        for start, path in zip(range(first, width, self.growth), paths):
            if path is not Path.SHORTCUT:
                kept += range(start, start + self.growth)
        with ExitStack() as stack:

            def replace(module: nn.Module, run: Forward, *args: Any) -> None:
                forward = partial(run, *args)
                stack.enter_context(replace_forward(module, forward))

            if len(kept) < width:
                replace(self.norm, _run_norm, self.norm, kept)
                if self.conv is not None:
                    replace(self.conv, _run_conv, self.conv, kept)
                if self.end is not None:  # or the norm itself
                    replace(self.end, _run_end, self.end.forward, kept, width)
            yield

    def list_after_end(
        self, model: nn.Module, backbone: nn.Module
    ) -> List[Tuple[str, nn.Module]]:
        """List names and layers that have weights and follow the last norm.

        These are all layers of the model that are not in the network, or come
        after the norm there.
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
        """Raise a TypeError for a model that normalises the network's output.

        Zeros, which stand for the features of skipped blocks, would not stay
        zeros there.
        """
        if self.end is None:
            return
        after = self.list_after_end(model, backbone)
        for name, layer in find_readers(after, self.norm.num_features):
            if isinstance(layer, _NORMS):
                raise TypeError(
                    f'{type(layer).__name__} `{name}` normalises the output '
                    f'of {type(backbone).__name__}, in which zeros stand for '
                    'the features of skipped layers: put the norm after a '
                    'linear layer or a convolution'
                )


def find_readers(
    layers: Sequence[Tuple[str, nn.Module]], width: int
) -> List[Tuple[str, nn.Module]]:
    """Find the layers that may read features of some width.

    If the first one keeps the width, the others are taken for layers that
    follow it.
    """
    readers = [
        (name, layer) for name, layer in layers if _may_read(layer, width)
    ]
    for _, first in readers[:1]:
        for name in ('out_features', 'out_channels'):
            if getattr(first, name, None) == width:
                return readers[:1]
    return readers


def _may_read(layer: nn.Module, width: int) -> bool:
    for name in ('in_features', 'in_channels', 'num_features', 'num_channels'):
        if hasattr(layer, name):
            return bool(getattr(layer, name) == width)
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0] == width
    return any(width in p.shape for p in layer.parameters(recurse=False))


def _run_norm(norm: _NormBase, kept: Sequence[int], x: Tensor) -> Tensor:
    """Run a norm layer with only some of its channels.

    Gradients still reach the original parameters, and batches are still
    counted in the original layer.
    """
    index = torch.tensor(kept, device=x.device)
    small = copy(norm)
    small.num_features = len(kept)
    for kind in ('_parameters', '_buffers'):
        vars(small)[kind] = {
            name: value
            if value is None or value.dim() == 0
            else value.index_select(0, index)
            for name, value in vars(norm)[kind].items()
        }
    out = type(norm).forward(small, x)
    if norm.training and norm.track_running_stats:
        for name in ('running_mean', 'running_var'):
            # Hidden from autograd: graphs of earlier passes may still hold
            # these buffers.
            getattr(norm, name).data[index] = getattr(small, name)
    return out


def _run_conv(conv: nn.Conv2d, kept: Sequence[int], x: Tensor) -> Tensor:
    """Run a convolution with only some input channels.

    Its weight may be computed, as that of a pruned or parametrized one is.
    """
    index = torch.tensor(kept, device=x.device)
    return conv._conv_forward(x, conv.weight.index_select(1, index), conv.bias)


def _run_end(
    forward: Forward, kept: Sequence[int], width: int, x: Tensor
) -> Tensor:
    """Run the network's end, with zeros for the channels left out."""
    out: Tensor = forward(x)
    zeros = out.new_zeros(out.shape[0], width, *out.shape[2:])
    return zeros.index_copy(1, torch.tensor(kept, device=x.device), out)
