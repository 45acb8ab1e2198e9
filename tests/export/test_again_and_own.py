"""An exported model is one like any other, and users' own are imported."""

import os
import shutil
import subprocess
import sys

import pytest
from mmengine.config import Config

from tests.conftest import classifier
from tests.export.conftest import RESNET, export

# Nothing of this process: what it has imported hides what is missing.
READ = """
import sys
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
import mmpretrain.models
cfg = Config.fromfile(sys.argv[1])
with DefaultScope.overwrite_default_scope('mmpretrain'):
    model = MODELS.build(cfg.model)
model.load_state_dict(torch.load(cfg.load_from)['state_dict'])
print(*(len(layer) for layer in model.backbone.children()
        if isinstance(layer, torch.nn.Sequential)))
assert 'mmst' not in sys.modules
"""
#: A backbone of a user's own, in a file beside the config.
BACKBONE = '''"""My network."""
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import MODELS
from my_parts import WIDE


@MODELS.register_module()
class Mine(ResNet):
    def __init__(self, wide: int = 1, **kwargs) -> None:
        kwargs.update(base_channels=4 * WIDE * wide, stem_channels=8)
        super().__init__(18, **kwargs)
'''


def read_in_a_fresh_python(config, *folders):
    """The number of blocks in each stage."""
    done = subprocess.run(
        [sys.executable, '-c', READ, str(config)],
        capture_output=True,
        text=True,
        cwd=str(config.parent.parent),
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders))),
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def make_again(make_runner, folder, name, **options):
    """A runner that trains an exported model with ST."""
    cfg = Config.fromfile(str(folder / f'{name}.py'))
    model = cfg.model.to_dict()
    model['head'] = dict(type='mmst.STClsHead', head=model['head'])
    return make_runner(model, custom_imports=cfg.custom_imports, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    'depths, first, name',
    [
        ((1, 1, 1, 2), 'a', 'a'),
        # A Python has one module of a name.
        ((1, 2, 1, 1), 'b', 'c'),
        ((1, 2, 1, 2), 'd', 'd'),
    ],
)
def test_exported_again_and_moved(make_runner, tmp_path, depths, first, name):
    """The second export needs neither the first one nor mmst."""
    export(make_runner(RESNET), tmp_path / 'one', (1, 2, 1, 2), name=first)
    runner = make_again(make_runner, tmp_path / 'one', first)
    for folder in ('two', 'three'):  # one runner exports several
        assert export(runner, tmp_path / folder, depths, name=name) == []
    shutil.move(str(tmp_path / 'three'), str(tmp_path / 'moved'))
    shutil.rmtree(tmp_path / 'one')
    moved = tmp_path / 'moved' / f'{name}.py'
    assert read_in_a_fresh_python(moved) == depths


def test_backbone_of_a_users_own(make_runner, tmp_path, monkeypatch):
    """Imported from the user's project; the config keeps its import."""
    home = tmp_path / "l'été d'Anna"
    home.mkdir()
    (home / 'my_net.py').write_text(BACKBONE)
    (home / 'my_parts.py').write_text('WIDE = 2\n')
    monkeypatch.syspath_prepend(str(home))
    imports = dict(imports=['my_net'], allow_failed_imports=False)
    __import__('my_net')
    model = classifier()
    model['backbone'] = dict(type='Mine', wide=2)
    model['head']['head']['in_channels'] = 128
    runner = make_runner(model, custom_imports=imports)
    needed = export(runner, home / 'one', (1, 2, 1, 2), name='net')
    assert needed == ['my_net', 'my_net.Mine']
    first = Config.fromfile(str(home / 'one' / 'net.py'))
    assert first.custom_imports.imports == ['my_net', 'backbone_net']
    runner = make_again(make_runner, home / 'one', 'net', max_epochs=1)
    runner.train()
    needed = export(runner, home / 'two', (1, 1, 1, 2), name='net')
    assert needed == ['my_net']
    moved = tmp_path / '"' / "''' \\1 {{x}}"
    moved.parent.mkdir()
    (home / 'two').rename(moved)
    shutil.rmtree(home / 'one')
    assert read_in_a_fresh_python(moved / 'net.py', home) == (1, 1, 1, 2)
