"""An exported model is one like any other, and users' own are imported."""

import shutil
import sys

import pytest
from mmengine.config import Config

from tests.conftest import classifier
from tests.environments import run_process
from tests.export.conftest import RESNET, STOCK, export

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


def count_blocks(folder, path=''):
    """The number of blocks in each stage.

    In a fresh Python: what this one has imported hides what is missing.
    """
    command = sys.executable, STOCK, 'blocks', folder
    output = run_process(*command, cwd=folder.parent, PYTHONPATH=str(path))
    return tuple(map(int, output.splitlines()[-1].split()))


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
    assert count_blocks(tmp_path / 'moved') == depths


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
    moved = tmp_path / '"' / "''' \\1 {{x}} #%"
    moved.parent.mkdir()
    (home / 'two').rename(moved)
    shutil.rmtree(home / 'one')
    assert count_blocks(moved, home) == (1, 1, 1, 2)
    (tmp_path / 'child.py').write_text(f'_base_ = {str(moved / "net.py")!r}')
    for path in (moved / 'net.py', tmp_path / 'child.py'):
        cfg = Config.fromfile(path)
        assert cfg.load_from == str(moved / 'net.pth')
        # Nothing is left of what the file computes with.
        assert not {'inspect', 'os', 'sys', '_folder'} & cfg.keys()
