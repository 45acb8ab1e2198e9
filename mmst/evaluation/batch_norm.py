"""Re-estimate BatchNorm statistics for a subnet, and restore them."""

from contextlib import ExitStack, contextmanager
from typing import Any, Iterable, Iterator, List, Tuple

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmst.subnets import preserve_modes, unwrap_model
from mmst.subnets.activation import preserve_buffers

from .data_loaders import preprocess_unmixed


@contextmanager
def reestimate_statistics(
    model: nn.Module, data_loader: Iterable[Any], num_samples: int = 2000
) -> Iterator[None]:
    """Re-estimate norm statistics for the active network.

    Subnets share BatchNorm layers with the main network, whose running
    statistics do not fit them. Inside this context the layers have statistics
    of the data, pooled over all processes and all calls, each weighted by its
    number of samples (a head shared by several levels of a pyramid is called
    for each). Afterwards, even after an exception, their own are restored.
    Layers that a model freezes in training keep their statistics, and so do
    layers that are not called. A model without running statistics needs no
    data. Use it inside :func:`mmst.subnets.activate` with
    ``update_running_stats=True``.

    Args:
        model: A model of MMEngine, with a ``data_preprocessor``.
        data_loader: Any loader of training batches.
        num_samples: Stop after this many samples, in each process.

    Raises:
        ValueError: If there are no samples, or none are requested.

    Example:
        >>> with activate(model, (1, 2, 1), update_running_stats=True):
        ...     with reestimate_statistics(model, [data_batch], num_samples=6):
        ...         predictions = model.val_step(data_batch)
    """
    if num_samples < 1:
        raise ValueError(
            f'num_samples {num_samples}: re-estimating BatchNorm statistics '
            'needs at least one training image'
        )
    model = unwrap_model(model)
    layers = _find_trained_layers(model)
    if not layers:
        yield
        return
    with preserve_buffers(layers):
        _estimate(model, layers, data_loader, num_samples)
        yield


def _find_trained_layers(model: nn.Module) -> List[nn.Module]:
    """Find layers whose running statistics are updated in training.

    By their buffers, not their class: mmcv has its own norm layers.
    """
    with preserve_modes(model):
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
    """Write statistics pooled over calls and processes into the layers."""
    # For C channels, (2 C + 1,): weighted sums, over a layer's calls, of the
    # batch's means and mean squares, and the sum of the weights.
    sums = {
        layer: layer.running_mean.new_zeros(
            2 * len(layer.running_mean) + 1, dtype=torch.float64
        )
        for layer in layers
    }

    def add(layer: nn.Module, args: Tuple[Tensor, ...], output: Any) -> None:
        mean = layer.running_mean.double()
        square = layer.running_var + mean**2
        sums[layer] += len(args[0]) * torch.cat(
            [mean, square, mean.new_ones(1)]
        )

    seen = torch.zeros(1, dtype=torch.float64)
    with ExitStack() as stack:
        stack.enter_context(preserve_modes(model))
        model.eval()
        for layer in layers:
            layer.train()
            stack.enter_context(layer.register_forward_hook(add))
            stack.callback(setattr, layer, 'momentum', layer.momentum)
            # Running statistics become the call's. (PyTorch's type hint for
            # attributes of modules allows only tensors and modules.)
            layer.momentum = 1.0  # type: ignore[assignment]
        for data in data_loader:
            data = preprocess_unmixed(model, data)
            model._run_forward(data, mode='tensor')
            seen += len(data['inputs'])
            if seen >= num_samples:
                break
    all_reduce(seen)
    if seen == 0:
        raise ValueError(
            'no samples to re-estimate BatchNorm statistics from: the data '
            'loader is empty'
        )
    for layer, pooled in sums.items():
        all_reduce(pooled)
        if pooled[-1] > 0:
            mean, square = (pooled[:-1] / pooled[-1]).chunk(2)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(square - mean**2)
