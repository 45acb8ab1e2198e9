"""A project with a network of its own, in a folder of any name, by the tools.

Trained, exported, the export fine-tuned with ST and exported again, moved
and tested.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CONFIG, ROOT

NETWORK = """
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.registry import MODELS


@MODELS.register_module()
class MyNet(ResNet_CIFAR):

    def __init__(self, **kwargs):
        super().__init__(18, base_channels=8, stem_channels=8, **kwargs)
"""
MINE = """
_base_ = './plain.py'
custom_imports = dict(imports=['my_net'])
model = dict(
    backbone=dict(_delete_=True, type='MyNet'),
    head=dict(_delete_=True, type='mmst.STClsHead', head=_base_.model.head,
              loss_kl=dict(type='mmst.KLMinusLoss', normalize=None)))
"""
LINES = """
train_cfg = dict(
    _delete_=True, type='mmst.STEpochBasedTrainLoop', max_epochs=1)
custom_hooks = [
    *_base_.get('custom_hooks', []),
    dict(type='mmst.SubnetSamplerHook')]
"""
AGAIN = """
_base_ = './one/mine_2-1-2-1.py'
model = dict(
    head=dict(_delete_=True, type='mmst.STClsHead', head=_base_.model.head,
              loss_kl=dict(type='mmst.KLMinusLoss', normalize=None)))
"""


def run(folder: Path, tool: str, *args: str) -> str:
    paths = [str(ROOT), str(folder)]
    done = subprocess.run(
        [sys.executable, str(ROOT / f'tools/{tool}.py'), *args],
        cwd=str(folder),
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('name', ["l'été d'Anna", '"a" {{b}}'])
def test_from_training_to_a_moved_export(config, tmp_path, name):
    home = tmp_path / name
    shutil.copytree(Path(config).parent / 'images', home / 'images')
    (home / 'plain.py').write_text(CONFIG.format(data_root='images'))
    (home / 'my_net.py').write_text(NETWORK)
    (home / 'mine.py').write_text(MINE + LINES)
    (home / 'again.py').write_text(AGAIN + LINES)
    few = ['--num-samples', '4']
    run(home, 'train', 'mine.py', '--work-dir', 'w')
    checkpoint = ['mine.py', 'w/epoch_1.pth', '--depths', '2-1-2-1']
    told = run(home, 'export_subnet', *checkpoint, '--out', 'one', *few)
    assert 'Written to one: ' in told and 'my_net, my_net.MyNet' in told
    run(home, 'train', 'again.py', '--work-dir', 'v')
    checkpoint = ['again.py', 'v/epoch_1.pth', '--depths', '2-1-1-1']
    run(home, 'export_subnet', *checkpoint, '--out', 'two', *few)
    moved = tmp_path / f'moved {name}'
    shutil.move(str(home / 'two'), str(moved))
    for part in ('images', 'my_net.py'):  # the export imports it
        shutil.move(str(home / part), str(moved / part))
    shutil.rmtree(home)
    files = ['again_2-1-1-1.py', 'again_2-1-1-1.pth']
    assert 'accuracy/top1' in run(moved, 'test', *files)
