"""How good a network's subnets are, in a training as after it."""

from mmst import openmmlab  # noqa: F401

from .batch_norm import reestimate_statistics
from .data_loaders import (
    another_train_loader,
    preprocess_unmixed,
    train_loader,
    validation_loader,
)
from .preserve_random_state import preserve_random_state
from .subnet_metrics import (
    evaluate_subnet,
    run_as_subnet,
    uniform_depths,
)

__all__ = [
    'another_train_loader',
    'evaluate_subnet',
    'preserve_random_state',
    'reestimate_statistics',
    'run_as_subnet',
    'train_loader',
    'uniform_depths',
    'preprocess_unmixed',
    'validation_loader',
]
