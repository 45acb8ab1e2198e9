"""Numbers and pictures of trained networks and their subnets."""

from .batch_norm import reestimated_statistics
from .subnet_metrics import evaluate_subnet
from .trained_runner import trained_runner

__all__ = ['evaluate_subnet', 'reestimated_statistics', 'trained_runner']
