"""Layers that read the concatenated features of a stage, as in DenseNet."""

from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .replace_forward import replace_forward
from .subnet import Path


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
                stack.enter_context(
                    replace_forward(
                        self.norm, _make_norm_forward(self.norm, kept)
                    )
                )
                if self.conv is not None:
                    stack.enter_context(
                        replace_forward(
                            self.conv, _make_conv_forward(self.conv, kept)
                        )
                    )
                if self.end is not None:
                    stack.enter_context(
                        replace_forward(
                            self.end,
                            _widen_forward(
                                self.end.forward, kept, self.norm.num_features
                            ),
                        )
                    )
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
        """Count what the convolution spends on the features of one block.

        Args:
            flops: What it spends on its whole input.
        """
        return flops * self.growth // self.norm.num_features


Forward = Callable[[Tensor], Tensor]
Layer = TypeVar('Layer', bound=nn.Module)


def _make_norm_forward(norm: _NormBase, kept: Sequence[int]) -> Forward:
    """Make the forward of a norm layer with only some of its channels."""

    def forward(x: Tensor) -> Tensor:
        index = torch.tensor(kept, device=x.device)
        small = _select_inputs(norm, index, dim=0)
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
    """Make the forward of a convolution with only some input channels."""

    def forward(x: Tensor) -> Tensor:
        index = torch.tensor(kept, device=x.device)
        return type(conv).forward(_select_inputs(conv, index, dim=1), x)

    return forward


def _select_inputs(layer: Layer, index: Tensor, dim: int) -> Layer:
    """Make a layer with some of the channels along a dimension.

    Gradients still reach the original parameters, and a norm still counts its
    batches in the original layer.
    """
    small = copy(layer)
    for kind in ('_parameters', '_buffers'):
        vars(small)[kind] = {
            name: value
            if value is None or value.dim() <= dim
            else value.index_select(dim, index)
            for name, value in vars(layer)[kind].items()
        }
    return small


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
