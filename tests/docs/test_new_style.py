"""The config in MMEngine's new style trains as it stands."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import HOOKS, LOOPS
from mmpretrain.registry import MODELS
from PIL import Image
from torch.utils.data import DataLoader

from mmst.engine import (
    STEpochBasedTrainLoop,
    SubnetMetricsHook,
    SubnetSamplerHook,
)
from mmst.launch.toolbox import read_config
from mmst.models import STClsHead
from tests.conftest import ROOT, logged, run_alone

from .blocks import python_blocks

NAME = 'my_new_style'


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder like a clone's root, with the config and a few images."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    shutil.copy(ROOT / f'docs/how_to/{NAME}.py', tmp_path)
    generator = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in range(10):
            folder = tmp_path / f'data/mnistm5k/{split}/{label}'
            folder.mkdir(parents=True)
            pixels = generator.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / '0.png')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_classes_are_named_by_import(clone):
    cfg = read_config(f'{NAME}.py')
    model = MODELS.build(cfg.model)
    assert isinstance(model.head, STClsHead) and model.head.num_classes == 10
    sampler, metrics = map(HOOKS.build, cfg.custom_hooks)
    assert type(sampler) is SubnetSamplerHook
    assert type(metrics) is SubnetMetricsHook
    # What the bases give.
    assert cfg.default_hooks.reseed.type == 'mmst.ReseedHook'
    assert cfg.train_dataloader.dataset.data_root == 'data/mnistm5k'


def test_trains(clone, load_tool):
    changes = [
        'train_dataloader.batch_size=5',
        'default_hooks.logger.interval=1',
        'model.backbone.base_channels=8',
        'model.backbone.stem_channels=8',
        'model.head.head.in_channels=64',
    ]
    run_alone(load_tool('tools/train').main)(
        [f'{NAME}.py', '--cfg-options', *changes]
    )
    work_dir = clone / 'work_dirs' / NAME
    steps = [record for record in logged(work_dir) if 'subnet2_loss' in record]
    assert len(steps) == 4
    assert all(np.isfinite(step['loss']) for step in steps)
    scored = ' '.join(map(str, logged(work_dir, 'subnets.json')))
    assert '1-1-1-1' in scored and '2-2-2-2' in scored


def test_own_config_turned_into_st(tmp_path):
    """The page's lines, on a config of common training in this style."""
    page = ROOT / 'docs/how_to/new_style_config.md'
    (code,) = (b for b in python_blocks(page) if 'my_config' in b)
    (tmp_path / 'my_config.py').write_text(
        """from mmpretrain.models import ImageClassifier, LinearClsHead, ResNet
model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet, depth=50, base_channels=2, stem_channels=2),
    head=dict(type=LinearClsHead, num_classes=6, in_channels=64))
train_cfg = dict(by_epoch=True, max_epochs=7)
"""
    )
    (tmp_path / 'st.py').write_text(code)
    cfg = read_config(str(tmp_path / 'st.py'))
    model = MODELS.build(cfg.model)
    assert isinstance(model.head, STClsHead) and model.head.num_classes == 6
    loop = LOOPS.build(
        dict(cfg.train_cfg),
        default_args=dict(
            runner=SimpleNamespace(hooks=[]), dataloader=DataLoader([0])
        ),
    )
    assert type(loop) is STEpochBasedTrainLoop and loop.max_epochs == 200
    sampler = HOOKS.build(cfg.custom_hooks[0]).sampler.fit(model)
    assert sampler.space.candidates == (1, 2, 4, 1)
