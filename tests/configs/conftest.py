"""Data and runs that tests of several config families need."""

import sys
from pathlib import Path
from typing import Callable

import pytest
import torch

from tests.conftest import ROOT, write_images
from tests.environments import run_process

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


@pytest.fixture(scope='session')
def imagenet(tmp_path_factory) -> Path:
    """ImageNet's layout with annotation files, eight images a split."""
    root = tmp_path_factory.mktemp('imagenet')
    (root / 'meta').mkdir()
    for split in ('train', 'val'):
        names = [f'{split}_{i}.JPEG' for i in range(8)]
        write_images(root / split, names, size=40)
        lines = [f'{name} {100 * i}\n' for i, name in enumerate(names)]
        (root / 'meta' / f'{split}.txt').write_text(''.join(lines))
    return root


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
        output = run_process(
            *('bash', ROOT / 'tools/dist_train.sh', mine, 2),
            *('--work-dir', work, '--cfg-options', *options),
            PYTHON=sys.executable,
            OMP_NUM_THREADS='1',
            PYTHONPATH=str(tmp_path),
        )
        first, second = (torch.load(work / f'rank{r}.pth') for r in range(2))
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        return output

    return train_on_two
