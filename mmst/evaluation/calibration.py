"""Calibrated scores: fit one temperature and put it into the last layer.

In a network that is trained through normalised logits, the length of the raw
logits is not trained: the class is right, but its score means nothing. One
factor on the last layer's weight and bias calibrates the scores and does not
change the class.
"""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from torch import Tensor, nn

from mmst.subnets import preserve_modes, unwrap_model

from .logits import (
    Logits,
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
    equal width of the largest score, weighted by images.

    Args:
        logits: (N, num_classes).
        labels: (N, ).

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
    labels count as (N + 1) / (N + 2), as in Platt scaling.

    Args:
        logits: (N, num_classes).
        labels: (N, ).

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
    # In the logarithm, starting from logits of unit size.
    log_scale = (-size.log()).detach().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [log_scale], max_iter=50, line_search_fn='strong_wolfe'
    )

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(
            logits * log_scale.exp(),
            labels,
            label_smoothing=1 / (len(labels) + 2),
        )
        value.backward()
        return value

    optimizer.step(compute_loss)  # type: ignore[arg-type]
    return (-log_scale).exp().item()


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
    fitted_on = collect_training_logits(runner, num_samples)
    temperature = fit_temperature(*fitted_on)
    _report(runner, temperature, fitted_on)
    own = [(p, p.detach().clone()) for p in layer.parameters()]
    try:
        with torch.no_grad():
            for parameter, _ in own:
                parameter.div_(temperature)
        yield temperature
    finally:
        with torch.no_grad():
            for parameter, value in own:
                parameter.copy_(value)


def _report(runner: Runner, temperature: float, fitted_on: Logits) -> None:
    """Log the temperature's effect, on validation images if there are any."""
    kind, measured_on = 'training', fitted_on
    if runner.val_loop is not None:
        kind, measured_on = 'validation', collect_validation_logits(runner)
    logits, labels = measured_on
    before = measure_quality(logits, labels)
    after = measure_quality(logits / temperature, labels)
    runner.logger.info(
        f'Temperature {temperature:.4g}; on {kind} images: cross-entropy '
        f'{before.cross_entropy:.4f} -> {after.cross_entropy:.4f}, '
        f'calibration error {before.calibration_error:.4f} -> '
        f'{after.calibration_error:.4f}'
    )


@torch.no_grad()
def find_last_layer(model: nn.Module, data: Dict[str, Any]) -> nn.Linear:
    """Find the linear layer whose output is the logits.

    Args:
        model: The classifier.
        data: A preprocessed batch.

    Raises:
        TypeError: If there is none.
    """
    outputs: List[Tuple[nn.Linear, Tensor]] = []
    handles = [
        module.register_forward_hook(
            lambda module, _, output: outputs.append((module, output))
        )
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with preserve_modes(model):
            model.eval()
            logits = compute_logits(model, data)
    finally:
        for handle in handles:
            handle.remove()
    for layer, output in outputs:
        if output is logits:
            return layer
    raise TypeError(
        f'cannot put a temperature into {type(model.head).__name__}: its '
        'logits are not the output of one linear layer'
    )
