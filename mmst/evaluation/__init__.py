"""How good a network's subnets are, in a training as after it."""

from .batch_norm import reestimated_statistics
from .random_state import kept_random_state
from .subnet_metrics import (
    check_validation,
    evaluate_subnet,
    running_subnet,
    training_loader,
    uniform_depths,
)

__all__ = [
    'check_validation',
    'evaluate_subnet',
    'kept_random_state',
    'reestimated_statistics',
    'running_subnet',
    'training_loader',
    'uniform_depths',
]
