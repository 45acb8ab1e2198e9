"""BatchNorm statistics of a subnet, re-estimated and put back."""

from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmst.subnets import kept_modes, unwrapped

# Weighted sums of a layer's batch means and of its batch mean squares.
Sums = Tuple[Tensor, Tensor]


@contextmanager
def reestimated_statistics(
    model: nn.Module, data_loader: Iterable[Any], num_samples: int = 2000
) -> Iterator[None]:
    """Give norm layers the statistics of the network that runs now.

    Subnets share their BatchNorm layers with the main network, whose running
    statistics do not fit them. Inside this context the layers carry
    statistics of the data, pooled over batches with each batch weighted by
    its number of samples and over all processes; afterwards their own come
    back, after an exception too. Layers that a model freezes in training keep
    theirs. A model without running statistics needs no data. Use it inside
    :func:`mmst.subnets.activate` with ``update_running_stats=True``.

    Args:
        model: A model of MMEngine's kind, which has a ``data_preprocessor``.
        data_loader: Training images; any loader of the model's batches.
        num_samples: Stop after this many samples, in each process.

    Raises:
        ValueError: If there is no sample, or none is asked for.
    """
    if num_samples < 1:
        raise ValueError(
            f'num_samples {num_samples}: re-estimating BatchNorm statistics '
            'takes at least one training image'
        )
    model = unwrapped(model)
    layers = _trained_layers(model)
    if not layers:
        yield
        return
    own = {
        layer: [buffer.clone() for buffer in layer.buffers()]
        for layer in layers
    }
    try:
        _estimate(model, layers, data_loader, num_samples)
        yield
    finally:
        for layer, buffers in own.items():
            for buffer, value in zip(layer.buffers(), buffers):
                buffer.copy_(value)


def _trained_layers(model: nn.Module) -> List[nn.Module]:
    """Layers whose running statistics training updates.

    By what they have, not by their class: mmcv has norm layers of its own.
    """
    with kept_modes(model):
        # A model's own `train` knows which of its layers stay frozen.
        model.train()
        return [
            m
            for m in model.modules()
            if m.training and getattr(m, 'running_mean', None) is not None
        ]


@torch.no_grad()
def _estimate(
    model: nn.Module,
    layers: List[nn.Module],
    data_loader: Iterable[Any],
    num_samples: int,
) -> None:
    sums: Dict[nn.Module, Sums] = {
        layer: (
            torch.zeros_like(layer.running_mean, dtype=torch.float64),
            torch.zeros_like(layer.running_var, dtype=torch.float64),
        )
        for layer in layers
    }
    momenta = {layer: layer.momentum for layer in layers}
    seen = 0
    with kept_modes(model):
        model.eval()
        try:
            for layer in layers:
                layer.train()
                # So that the running statistics are the batch's. (PyTorch's
                # hint for attributes of modules knows tensors and modules.)
                layer.momentum = 1.0  # type: ignore[assignment]
            for data in data_loader:
                data = model.data_preprocessor(data, False)
                model._run_forward(data, mode='tensor')
                size = len(data['inputs'])
                for layer, (mean, square) in sums.items():
                    batch_mean = layer.running_mean.double()
                    mean += size * batch_mean
                    square += size * (layer.running_var + batch_mean**2)
                seen += size
                if seen >= num_samples:
                    break
        finally:
            for layer, momentum in momenta.items():
                layer.momentum = momentum
    _write(sums, seen)


def _write(sums: Dict[nn.Module, Sums], seen: int) -> None:
    """Pool over processes and write the layers' running statistics."""
    total = torch.tensor([float(seen)], dtype=torch.float64)
    all_reduce(total)
    if total.item() == 0:
        raise ValueError(
            'no sample to re-estimate BatchNorm statistics from: the data '
            'loader is empty'
        )
    for layer, (mean, square) in sums.items():
        for tensor in (mean, square):
            all_reduce(tensor)
            tensor /= total.item()
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(square - mean**2)
