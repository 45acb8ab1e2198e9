"""Every tool on a config in MMEngine's pure Python style, which has no scope.

Types are classes there, and ``default_scope`` is None.
"""

import sys
from pathlib import Path

import pytest

from tests.conftest import logged, run_alone

CONFIG = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import LoggerHook
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs
from mmpretrain.datasets import RandomCrop
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import (
    GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet_CIFAR)
from mmpretrain.visualization import UniversalVisualizer
from mmengine.visualization import LocalVisBackend
from torch.optim import SGD

from mmst.engine import STEpochBasedTrainLoop, SubnetSamplerHook
from mmst.models import STClsHead

default_scope = None
data_root = {data_root!r}
model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet_CIFAR, depth=18, base_channels=8,
                  stem_channels=8),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=STClsHead,
        loss_kl=dict(type='mmst.KLMinusLoss', normalize='l2'),
        head=dict(type=LinearClsHead, num_classes=2, in_channels=64,
                  topk=(1, ))),
    data_preprocessor=dict(num_classes=2))
pipeline = [dict(type=LoadImageFromFile), dict(type=RandomCrop, crop_size=32),
            dict(type=PackInputs)]
dataset = dict(type=CustomDataset, data_root=data_root, data_prefix='train',
               pipeline=pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dataset,
    sampler=dict(type=DefaultSampler, shuffle=True))
val_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dataset,
    sampler=dict(type=DefaultSampler, shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy, topk=(1, ))
test_evaluator = val_evaluator
train_cfg = dict(type=STEpochBasedTrainLoop, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [dict(type=SubnetSamplerHook, num_subnets=2)]
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.01, momentum=0.9))
default_hooks = dict(logger=dict(type=LoggerHook, interval=1))
visualizer = dict(type=UniversalVisualizer,
                  vis_backends=[dict(type=LocalVisBackend)])
randomness = dict(seed=0)
"""


@pytest.fixture(scope='module')
def new_style(config, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('new_style') / 'tiny.py'
    images = Path(config).parent / 'images'
    path.write_text(CONFIG.format(data_root=str(images)))
    return str(path)


@pytest.fixture(scope='module')
def run(train, new_style, tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('run')
    train([new_style, '--work-dir', str(work_dir)])
    assert 'subnet1_loss' in logged(work_dir)[0]
    return work_dir


def test_train_and_test(run, new_style, test, tmp_path):
    checkpoint = str(run / 'epoch_1.pth')
    test([new_style, checkpoint, '--work-dir', str(tmp_path)])
    assert list(tmp_path.glob('*/*.json'))


def test_analyses(analyse, run, new_style, tmp_path):
    """Those of other analyses are loaded by the same functions."""
    network = ('a', new_style, run / 'epoch_1.pth')
    few = ['--depths', '1-1-1-1', '--num-samples', '2']
    assert analyse('score_quality', tmp_path / 'out', '--run', *network, *few)
    results = analyse('cost', tmp_path / 'cost', '--run', 'a', run)
    assert results['a']['num_subnets'] == 2
    assert analyse('stage_layout', tmp_path / 'layout', new_style)


def test_family_and_export(load_tool, analyse, run, new_style, tmp_path):
    checkpoint = str(run / 'epoch_1.pth')
    family = analyse(
        'accuracy_cost',
        tmp_path / 'family',
        *(new_style, checkpoint, '--max-subnets', 2, '--num-samples', 2),
        *('--seconds', 0, '--rule', 'less'),
    )
    assert len(family['networks']) == 2 and family['rule'] == 'less'
    out = tmp_path / 'small'
    run_alone(load_tool('tools/export_subnet').main)(
        [new_style, checkpoint, '--depths', '1-1-1-1']
        + ['--num-samples', '2', '--out', str(out)]
    )
    assert list(out.glob('*.py')) and list(out.glob('*.pth'))
    for source in out.glob('*.py'):
        assert 'import mmst' not in source.read_text()
        assert "'mmst" not in source.read_text()


def test_benchmark(load_tool, new_style, monkeypatch):
    tool = load_tool('tools/benchmarks/iteration_cost')
    args = ['--configs', new_style, '--batch-size', '2', '--size', '32', '32']
    monkeypatch.setattr(
        sys, 'argv', ['x', *args, '--iterations', '1', '--case', 'shared']
    )
    parsed = tool.parse_args()
    (parsed.config,) = parsed.configs
    assert tool.run_case(parsed)['seconds'] > 0
