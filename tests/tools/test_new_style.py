"""Every tool on a config in MMEngine's pure Python style, which has no scope.

Types are classes there, and ``default_scope`` is None.
"""

import re
from pathlib import Path

import pytest

from tests.conftest import CONFIG, logged, run_alone

from .test_iteration_cost import options

IMPORTS = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import LoggerHook
from mmengine.optim import MultiStepLR
from mmengine.visualization import LocalVisBackend
from mmpretrain.datasets import (
    CustomDataset, LoadImageFromFile, PackInputs, RandomCrop)
from mmpretrain.engine import VisualizationHook
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import (
    GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet_CIFAR)
from mmpretrain.visualization import UniversalVisualizer
from torch.optim import SGD

from mmst.engine import STEpochBasedTrainLoop, SubnetSamplerHook
from mmst.models import STClsHead
"""
#: With subnets, and images whose size is known.
ST = """
default_scope = None
model['head'] = dict(
    type=STClsHead, head=dict(model['head'], topk=(1, )),
    loss_kl=dict(type='mmst.KLMinusLoss', normalize='l2'))
pipeline.insert(1, dict(type=RandomCrop, crop_size=32))
train_cfg = dict(type=STEpochBasedTrainLoop, max_epochs=1)
custom_hooks = [dict(type=SubnetSamplerHook, num_subnets=2)]
"""


@pytest.fixture(scope='module')
def new_style(config, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('new_style') / 'tiny.py'
    text = CONFIG.format(data_root=str(Path(config).parent / 'images'))
    text = re.sub(r"type='(\w+)'", r'type=\1', text)
    path.write_text(IMPORTS + text + ST)
    return str(path)


@pytest.fixture(scope='module')
def run(train, new_style, tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('run')
    train([new_style, '--work-dir', work_dir])
    assert 'subnet1_loss' in logged(work_dir)[0]
    return work_dir


def test_train_and_test(run, new_style, test, tmp_path):
    checkpoint = run / 'epoch_1.pth'
    test([new_style, checkpoint, '--work-dir', tmp_path])
    assert list(tmp_path.glob('*/*.json'))


def test_analyses(analyse, run, new_style, tmp_path):
    """Other analyses load such configs by the same functions."""
    network = ('a', new_style, run / 'epoch_1.pth')
    few = ['--depths', '1-1-1-1', '--num-samples', '2']
    assert analyse('score_quality', tmp_path / 'out', '--run', *network, *few)
    results = analyse('cost', tmp_path / 'cost', '--run', 'a', run)
    assert results['a']['num_subnets'] == 2
    assert analyse('stage_layout', tmp_path / 'layout', new_style)


def test_family_and_export(load_tool, analyse, run, new_style, tmp_path):
    checkpoint = run / 'epoch_1.pth'
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
        + ['--num-samples', '2', '--out', out]
    )
    assert list(out.glob('*.py')) and list(out.glob('*.pth'))
    for source in out.glob('*.py'):
        assert 'import mmst' not in source.read_text()
        assert "'mmst" not in source.read_text()


def test_benchmark(load_tool, new_style):
    tool = load_tool('tools/benchmarks/iteration_cost')
    assert tool.run_case(options('shared', config=new_style))['seconds'] > 0
