"""Logits of a classifier."""

from typing import Any, Dict, Iterable, Iterator, NamedTuple

import torch
from mmengine.runner import Runner, set_random_seed
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from mmst.subnets import preserve_modes, unwrap_model
from mmst.subnets.preserve import preserve_random_state

from .data_loaders import (
    build_train_loader,
    get_train_loader,
    get_validation_loader,
    preprocess_unmixed,
)


class Logits(NamedTuple):
    """Logits and labels of some images.

    Attributes:
        logits: (N, num_classes), float64, on the CPU.
        labels: (N, ).
    """

    logits: Tensor
    labels: Tensor


@torch.no_grad()
def _collect(model: nn.Module, batches: Iterable[Dict[str, Any]]) -> Logits:
    """Run a classifier on preprocessed batches, in evaluation mode."""
    logits, labels = [], []
    with preserve_modes(model):
        model.eval()
        for data in batches:
            logits.append(compute_logits(model, data).double().cpu())
            labels += [int(s.gt_label) for s in data['data_samples']]
    return Logits(torch.cat(logits), torch.tensor(labels))


def compute_logits(model: nn.Module, data: Dict[str, Any]) -> Tensor:
    """Compute the logits of a preprocessed batch, (N, num_classes).

    Raises:
        TypeError: If the model returns none, or several.
    """
    has_head = getattr(model, 'head', None) is not None
    if has_head and isinstance(model, BaseClassifier):
        output = model._run_forward(data, mode='tensor')
        if isinstance(output, Tensor):
            return output
    raise TypeError(
        'only classifiers with one logit vector per image have such scores, '
        f'not {type(model).__name__}'
    )


def collect_training_logits(runner: Runner, num_samples: int = 2000) -> Logits:
    """Collect logits of training images, augmented, the same each time.

    Their number is rounded up to whole batches.

    Example:
        >>> logits, labels = collect_training_logits(runner, num_samples=12)
        >>> logits.shape
        torch.Size([12, 4])
    """
    model = unwrap_model(runner.model)
    return _collect(model, iterate_training_batches(runner, num_samples))


def iterate_training_batches(
    runner: Runner, num_samples: int
) -> Iterator[Dict[str, Any]]:
    """Iterate over preprocessed training batches, the same each time."""
    dataset, seen = get_train_loader(runner).dataset, 0
    with preserve_random_state():
        set_random_seed(runner.seed)
        for data in build_train_loader(runner, dict(type=lambda: dataset)):
            yield preprocess_unmixed(unwrap_model(runner.model), data)
            seen += len(data['inputs'])
            if seen >= num_samples:
                return


def collect_validation_logits(runner: Runner) -> Logits:
    """Collect logits of the validation images, by the weights loaded.

    Example:
        >>> logits, labels = collect_validation_logits(runner)
        >>> logits.shape
        torch.Size([40, 4])
    """
    model = unwrap_model(runner.model)
    loader = get_validation_loader(runner)
    return _collect(
        model, (model.data_preprocessor(data, False) for data in loader)
    )
