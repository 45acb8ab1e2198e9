"""Calibrated scores: fit one temperature and put it into the last layer.

In a network that is trained through normalised logits, the length of the raw
logits is not trained: the class is right, but its score means nothing. One
factor on the last layer calibrates the scores and does not change the class.
"""

from contextlib import contextmanager
from copy import deepcopy
from math import exp, log
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mmst.subnets import preserve_modes, unwrap_model

from .logits import (
    collect_training_logits,
    collect_validation_logits,
    compute_logits,
    iterate_training_batches,
)


class ScoreQuality(NamedTuple):
    """How well calibrated the softmax of logits is.

    Attributes:
        cross_entropy: Mean negative log-likelihood of the labels, in nats.
        calibration_error: Expected calibration error, in 0 to 1.
    """

    cross_entropy: float
    calibration_error: float


def measure_quality(logits: Tensor, labels: Tensor) -> ScoreQuality:
    """Measure cross-entropy and expected calibration error of softmax scores.

    The error is the mean difference of confidence and accuracy over 15 bins of
    equal width of the largest score, weighted by images. Logits have the shape
    (N, num_classes), labels (N, ).

    Example:
        >>> sure = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
        >>> round(measure_quality(sure, torch.tensor([0, 1]))[1], 3)
        0.5
    """
    scores, classes = logits.double().softmax(1).max(1)
    bins = (15 * scores).long().clamp(max=14)
    distance = scores - (classes == labels).double()
    sums = distance.new_zeros(15).index_add(0, bins, distance)
    return ScoreQuality(
        F.cross_entropy(logits.double(), labels).item(),
        sums.abs().sum().item() / len(labels),
    )


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the temperature with the lowest cross-entropy.

    If every image is classified correctly, no temperature is low enough. So
    labels count as (N + 1) / (N + 2), as in Platt scaling. Logits have the
    shape (N, num_classes), labels (N, ).

    Raises:
        ValueError: If logits are not finite, or all equal.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
        >>> fit_temperature(logits, torch.tensor([0, 0, 1])) > 1
        True
    """
    logits = logits.double()
    size = logits.std(1).mean()
    if not size > 0 or not torch.isfinite(logits).all():
        raise ValueError(
            'no temperature can be fitted: the logits are not finite, or '
            'the same for every class'
        )

    def compute_loss(log_temperature: float) -> float:
        return F.cross_entropy(
            logits / exp(log_temperature),
            labels,
            label_smoothing=1 / (len(labels) + 2),
        ).item()

    # Around the temperature that makes logits of unit size.
    bounds = log(size) - 15, log(size) + 15
    found = minimize_scalar(compute_loss, bounds=bounds, method='bounded')
    return exp(found.x)


@contextmanager
def bake_temperature(
    runner: Runner, num_samples: int = 2000
) -> Iterator[float]:
    """Scale the last layer so that scores are calibrated, inside the context.

    Inside :func:`mmst.evaluation.run_as_subnet` the temperature is that of the
    subnet. Cross-entropy and calibration error before and after are logged.

    Args:
        runner: A runner of a classifier with its weights loaded.
        num_samples: Training images to fit the temperature on.

    Returns:
        Iterator: The temperature, inside the context.

    Raises:
        TypeError: If the logits are not the output of one linear layer.

    Example:
        >>> with bake_temperature(runner, num_samples=12) as temperature:
        ...     metrics = evaluate_subnet(runner)
        >>> temperature > 0
        True
    """
    model = unwrap_model(runner.model)
    layer = find_last_layer(model, next(iterate_training_batches(runner, 1)))
    kind, measured = 'training', collect_training_logits(runner, num_samples)
    temperature = fit_temperature(*measured)
    if runner.val_loop is not None:
        kind, measured = 'validation', collect_validation_logits(runner)
    logits, labels = measured
    before = measure_quality(logits, labels)
    after = measure_quality(logits / temperature, labels)
    runner.logger.info(
        f'Temperature {temperature:.4g}; on {kind} images: cross-entropy '
        f'{before.cross_entropy:.4f} -> {after.cross_entropy:.4f}, '
        f'calibration error {before.calibration_error:.4f} -> '
        f'{after.calibration_error:.4f}'
    )
    own = deepcopy(layer.state_dict())
    try:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.div_(temperature)
        yield temperature
    finally:
        layer.load_state_dict(own)


@torch.no_grad()
def find_last_layer(model: nn.Module, data: Dict[str, Any]) -> nn.Module:
    """Find the linear layer whose output is a preprocessed batch's logits.

    Raises:
        TypeError: If there is none.
    """
    outputs: List[Tuple[nn.Module, Tensor]] = []

    def record(layer: nn.Module, args: Any, output: Any) -> None:
        if isinstance(layer, nn.Linear):
            outputs.append((layer, output))

    with preserve_modes(model), register_module_forward_hook(record):
        model.eval()
        logits = compute_logits(model, data)
    for layer, output in outputs:
        if output is logits:
            return layer
    raise TypeError(
        f'cannot put a temperature into {type(model.head).__name__}: its '
        'logits are not the output of one linear layer'
    )
