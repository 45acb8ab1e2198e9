"""Numbers and pictures of trained networks and their subnets."""

from mmst.evaluation import evaluate_subnet, reestimated_statistics

from .trained_runner import trained_runner

__all__ = ['evaluate_subnet', 'reestimated_statistics', 'trained_runner']
