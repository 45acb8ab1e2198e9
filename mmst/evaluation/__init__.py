"""How good a network's subnets are, in a training as after it."""

from mmst import openmmlab  # noqa: F401

from .batch_norm import reestimate_statistics
from .data_loaders import (
    build_train_loader,
    get_train_loader,
    get_validation_loader,
    preprocess_unmixed,
)
from .preserve_random_state import preserve_random_state
from .subnet_metrics import (
    evaluate_subnet,
    list_uniform_depths,
    run_as_subnet,
)

__all__ = [
    'build_train_loader',
    'evaluate_subnet',
    'preserve_random_state',
    'reestimate_statistics',
    'run_as_subnet',
    'get_train_loader',
    'list_uniform_depths',
    'preprocess_unmixed',
    'get_validation_loader',
]
