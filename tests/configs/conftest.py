"""Runs that tests of several config families need."""

import os
import subprocess
import sys
from typing import Callable

import pytest
import torch

from tests.conftest import ROOT

KEEP_WEIGHTS = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KeepWeights(Hook):

    def after_train(self, runner):
        torch.save(
            dict(runner.model.module.named_parameters()),
            f'{runner.work_dir}/rank{get_rank()}.pth')
"""


@pytest.fixture
def train_on_two(tmp_path) -> Callable[..., str]:
    """Train by dist_train.sh with two processes on a CPU. Contract 5.

    Their weights after the last iteration are equal; gives what they printed.
    """
    if torch.cuda.is_available():
        pytest.skip('about CPU processes')

    def train_on_two(config: str, *options: str) -> str:
        (tmp_path / 'keep_weights.py').write_text(KEEP_WEIGHTS)
        mine, work = tmp_path / 'config.py', tmp_path / 'work'
        mine.write_text(f"""
_base_ = '{ROOT}/configs/{config}'
custom_imports = dict(imports=['mmst', 'keep_weights'])
custom_hooks = _base_.custom_hooks + [dict(type='KeepWeights')]
""")
        command = ['bash', f'{ROOT}/tools/dist_train.sh', str(mine), '2']
        command += ['--work-dir', str(work), '--cfg-options', *options]
        env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1')
        done = subprocess.run(
            command,
            env=dict(env, PYTHONPATH=str(tmp_path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        first, second = (torch.load(work / f'rank{r}.pth') for r in range(2))
        for name, parameter in first.items():
            assert torch.equal(parameter, second[name]), name
        return done.stdout

    return train_on_two
