"""Evaluate a network's subnets, during training or after it."""

from mmst.installation import RANGES, check_packages

check_packages(*RANGES)

# ruff: noqa: E402
from mmst.subnets.preserve import preserve_random_state

from .batch_norm import reestimate_statistics
from .calibration import (
    ScoreQuality,
    bake_temperature,
    fit_temperature,
    measure_quality,
)
from .data_loaders import (
    build_train_loader,
    get_train_loader,
    get_validation_loader,
    preprocess_unmixed,
)
from .image_size import shrink_pipelines
from .logits import (
    Logits,
    collect_training_logits,
    collect_validation_logits,
)
from .subnet_metrics import (
    evaluate_subnet,
    list_uniform_depths,
    run_as_subnet,
)

__all__ = [
    'Logits',
    'ScoreQuality',
    'build_train_loader',
    'bake_temperature',
    'collect_training_logits',
    'collect_validation_logits',
    'evaluate_subnet',
    'fit_temperature',
    'get_train_loader',
    'get_validation_loader',
    'list_uniform_depths',
    'measure_quality',
    'preprocess_unmixed',
    'preserve_random_state',
    'reestimate_statistics',
    'run_as_subnet',
    'shrink_pipelines',
]
