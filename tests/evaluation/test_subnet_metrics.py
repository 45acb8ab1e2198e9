"""A subnet's statistics come from the seed's images, and nothing else."""

import random

import numpy as np
import pytest
import torch
from mmengine.runner import set_random_seed

from mmst.evaluation import run_as_subnet


def statistics(runner, depths=(1, 2, 1)):
    """Running statistics of a subnet from 8 training images, some flipped."""
    with run_as_subnet(runner, depths, num_samples=8):
        return torch.cat(
            [
                value.flatten()
                for key, value in runner.model.state_dict().items()
                if key.endswith(('running_mean', 'running_var'))
            ]
        )


@pytest.mark.parametrize('num_workers', [0, 1])
def test_statistics_do_not_depend_on_what_was_run_before(
    tiny_runner, num_workers
):
    runner = tiny_runner(num_workers=num_workers)
    first = statistics(runner)
    torch.rand(3)
    assert not torch.equal(statistics(runner, (3, 3, 3)), first)
    assert torch.equal(statistics(runner), first)
    # The images are drawn: another seed gives others.
    weights = runner.model.state_dict()
    other = tiny_runner('other', randomness=dict(seed=1))
    other.model.load_state_dict(weights)
    assert not torch.equal(statistics(other), first)


def test_random_numbers_go_on_as_if_nothing_had_been(tiny_runner):
    runner = tiny_runner()

    def drawn():
        return random.random(), np.random.rand(), torch.rand(()).item()

    set_random_seed(1)
    expected = drawn()
    set_random_seed(1)
    statistics(runner)
    assert drawn() == expected
