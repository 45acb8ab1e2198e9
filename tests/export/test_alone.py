"""An export is tried where there is nothing else but its folder."""

import subprocess
import sys

import pytest
from mmengine.config import Config
from mmpretrain.models import GlobalAveragePooling
from mmpretrain.registry import MODELS

from mmst.export import write_standalone
from mmst.export.own_modules import is_own, list_own_imports
from tests.conftest import classifier
from tests.export.test_exported_again import READ

#: A backbone of a user's own, in a file beside the config.
BACKBONE = '''"""My network."""
from __future__ import annotations

from mmpretrain.models.backbones import ResNet
from mmpretrain.models.necks import GlobalAveragePooling
from mmpretrain.registry import MODELS
{more}

@MODELS.register_module()
class Mine{n}(ResNet):
    def __init__(self, wide: int = 1, **kwargs) -> None:
        kwargs.update(base_channels=8 * wide, stem_channels=8)
        super().__init__(18, **kwargs)


@MODELS.register_module('MyNeck{n}')
class Neck(GlobalAveragePooling):
    pass
'''


@MODELS.register_module()
class NeckOfThisTest(GlobalAveragePooling):
    """Known to this process alone."""


def test_what_this_process_hides(make_runner, tmp_path):
    model = classifier()
    model['neck'] = dict(type='NeckOfThisTest')
    runner = make_runner(model)
    with pytest.raises(ValueError, match='by itself.*NeckOfThisTest'):
        write_standalone(
            runner, runner.cfg, (1, 2, 1), tmp_path / 'out', 'n', 4
        )
    assert not (tmp_path / 'out').exists()


def project(folder, n, monkeypatch, more='', neck='GlobalAveragePooling'):
    """A project in whatever folder, with a network of its own."""
    folder.mkdir(parents=True)
    (folder / f'my_net{n}.py').write_text(BACKBONE.format(n=n, more=more))
    (folder / f'my_parts{n}.py').write_text('WIDE = 2\n')
    monkeypatch.syspath_prepend(str(folder))
    imports = dict(imports=[f'my_net{n}'], allow_failed_imports=False)
    __import__(f'my_net{n}')
    model = classifier()
    model['backbone'] = dict(type=f'Mine{n}', wide=2)
    model['neck'] = dict(type=neck)
    model['head']['head']['in_channels'] = 128
    return model, imports


@pytest.mark.parametrize(
    'n, neck', [(1, 'GlobalAveragePooling'), (2, 'MyNeck2')]
)
def test_backbone_of_a_users_own(make_runner, tmp_path, monkeypatch, n, neck):
    """Exported, fine-tuned with ST, exported again, moved."""
    home = tmp_path / "l'été d'Anna"
    model, imports = project(home, n, monkeypatch, neck=neck)
    runner = make_runner(model, custom_imports=imports)
    assert (
        write_standalone(
            runner, runner.cfg, (1, 2, 1, 2), home / 'one', 'net', 4
        )
        == []
    )
    first = Config.fromfile(str(home / 'one' / 'net.py'))
    assert first.custom_imports.imports == ['backbone_net']
    model = first.model.to_dict()
    model['head'] = dict(type='mmst.STClsHead', head=model['head'])
    runner = make_runner(
        model, custom_imports=first.custom_imports, max_epochs=1
    )
    runner.train()
    write_standalone(runner, runner.cfg, (1, 1, 1, 2), home / 'two', 'net', 4)
    moved = tmp_path / '"' / "''' \\1 {{x}}"
    moved.parent.mkdir()
    (home / 'two').rename(moved)
    home.rename(tmp_path / 'gone')
    done = subprocess.run(
        [sys.executable, '-c', READ, str(moved / 'net.py')],
        capture_output=True,
        text=True,
        cwd=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list('1112')


def test_backbone_that_needs_its_project(make_runner, tmp_path, monkeypatch):
    more = 'from my_parts3 import WIDE'
    model, imports = project(tmp_path / 'home', 3, monkeypatch, more)
    runner = make_runner(model, custom_imports=imports)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'home'), prepend=':')
    left = write_standalone(
        runner, runner.cfg, (1, 2, 1, 2), tmp_path / 'out', 'net', 4
    )
    assert left == ['my_net3', 'my_net3.Mine3']
    cfg = Config.fromfile(str(tmp_path / 'out' / 'net.py'))
    assert cfg.custom_imports.imports == ['my_net3', 'backbone_net']


def test_which_modules_are_own():
    assert is_own('mmst.subnets') and is_own('tests.conftest')
    for name in ('json', 'sys', 'torch.nn', 'mmengine', 'numpy', 'pytest'):
        assert not is_own(name), name
    source = 'import json, torch\nfrom tests import conftest\nfrom . import x'
    assert list_own_imports(source) == ['mmst', 'tests']
