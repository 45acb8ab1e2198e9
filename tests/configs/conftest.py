"""Runs that tests of several config families need."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
import torch

ROOT = Path(__file__).parents[2]
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
def train_twice(tmp_path) -> Callable[..., tuple]:
    """Train by dist_train.sh with two processes on a CPU.

    Gives what they printed, and the weights of each after its last iteration.
    """
    if torch.cuda.is_available():
        pytest.skip('about CPU processes')

    def train_twice(config: str, *options: str) -> tuple:
        (tmp_path / 'keep_weights.py').write_text(KEEP_WEIGHTS)
        mine = tmp_path / 'config.py'
        mine.write_text(f"""
_base_ = '{ROOT}/configs/{config}'
custom_imports = dict(imports=['mmst', 'keep_weights'])
custom_hooks = _base_.custom_hooks + [dict(type='KeepWeights')]
""")
        done = subprocess.run(
            [
                'bash',
                str(ROOT / 'tools/dist_train.sh'),
                str(mine),
                '2',
                '--work-dir',
                str(tmp_path / 'work'),
                '--cfg-options',
                *options,
            ],
            env=dict(
                os.environ,
                PYTHON=sys.executable,
                OMP_NUM_THREADS='1',
                PYTHONPATH=str(tmp_path),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return (
            done.stdout,
            *(
                torch.load(tmp_path / 'work' / f'rank{rank}.pth')
                for rank in range(2)
            ),
        )

    return train_twice
