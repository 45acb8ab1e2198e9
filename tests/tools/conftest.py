"""A config, a few images and one trained checkpoint for the tools."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import run_alone

CONFIG = """
default_scope = 'mmpretrain'
data_root = {data_root!r}
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=8,
                  stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
    data_preprocessor=dict(num_classes=2))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root=data_root,
                 data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root,
                 data_prefix='train', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', milestones=[1, 3], by_epoch=True)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     visualization=dict(type='VisualizationHook'))
visualizer = dict(type='UniversalVisualizer',
                  vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
"""


@pytest.fixture(scope='session')
def config(tmp_path_factory) -> str:
    """A tiny classifier on four images of two classes: two iterations."""
    root = tmp_path_factory.mktemp('tools')
    generator = np.random.default_rng(0)
    for label in 'ab':
        folder = root / 'images' / 'train' / label
        folder.mkdir(parents=True)
        for index in range(2):
            pixels = generator.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{label}{index}.png')
    path = root / 'tiny.py'
    path.write_text(CONFIG.format(data_root=str(root / 'images')))
    return str(path)


@pytest.fixture(scope='session')
def trained(train, config, tmp_path_factory) -> Path:
    """The work dir of one epoch; not to be written to."""
    work_dir = tmp_path_factory.mktemp('trained')
    train([config, '--work-dir', str(work_dir)])
    return work_dir


@pytest.fixture
def work_dir(trained, tmp_path) -> Path:
    """A copy of the trained work dir."""
    return Path(shutil.copytree(trained, tmp_path / 'work'))


@pytest.fixture
def shell_env() -> dict:
    """The environment for a launch script: this Python, one thread each."""
    return dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1')


@pytest.fixture
def analyse(load_tool):
    """Run an analysis tool, and give what it wrote as JSON beside a PNG."""

    def analyse(tool: str, out: Path, *args) -> dict:
        run_alone(load_tool(f'tools/analysis_tools/{tool}').main)(
            [str(arg) for arg in (*args, '--out', out)]
        )
        with Image.open(out / f'{tool}.png') as image:
            assert image.format == 'PNG'
            assert len(image.getcolors(2**24)) > 10
        return json.loads((out / f'{tool}.json').read_text())

    return analyse


@pytest.fixture
def refuse(load_tool):
    """Run an analysis tool that fails, and see that it leaves no results."""

    def refuse(tool: str, out: Path, error: type, message: str, *args) -> None:
        with pytest.raises(error, match=message):
            run_alone(load_tool(f'tools/analysis_tools/{tool}').main)(
                [str(arg) for arg in (*args, '--out', out)]
            )
        assert not list(out.glob('*.png')) and not list(out.glob('*.json'))

    return refuse
