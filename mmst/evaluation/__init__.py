"""How good a network's subnets are, in a training as after it."""

from .batch_norm import reestimated_statistics
from .data_loaders import (
    another_train_loader,
    train_loader,
    unmixed_batch,
    validation_loader,
)
from .random_state import kept_random_state
from .subnet_metrics import (
    evaluate_subnet,
    running_subnet,
    uniform_depths,
)

__all__ = [
    'another_train_loader',
    'evaluate_subnet',
    'kept_random_state',
    'reestimated_statistics',
    'running_subnet',
    'train_loader',
    'uniform_depths',
    'unmixed_batch',
    'validation_loader',
]
