"""The session's trained network with a fine score."""

from functools import partial

import pytest


@pytest.fixture
def load(load):
    """Load it, with a metric that tells networks apart."""
    accuracy = dict(type='Accuracy', topk=(1, 2))
    return partial(load, val_evaluator=[accuracy, dict(type='MeanScore')])
