"""Toolboxes are found by import name, whichever family they come from."""

import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner

from mmst import installation
from mmst.installation import TOOLBOXES
from mmst.launch import toolbox
from mmst.launch.toolbox import check_toolbox, read_config
from tests.conftest import TinyImages


@pytest.fixture
def runtime(tmp_path):
    """A config on top of a toolbox's default runtime."""

    def write(scope: str, base: str = '_base_/default_runtime.py') -> str:
        path = tmp_path / 'x.py'
        path.write_text(f"_base_ = '{scope}::{base}'")
        return str(path)

    return write


@pytest.mark.parametrize('scope', TOOLBOXES)
def test_each_toolbox_is_imported_and_its_bases_are_read(
    scope, runtime, monkeypatch
):
    """By the module's name, if no package of the project's is there."""
    pytest.importorskip(scope)
    check_toolbox(Config(dict(default_scope=scope)))
    assert read_config(runtime(scope)).default_scope == scope
    monkeypatch.setitem(MODULE2PACKAGE, scope, f'some-{scope}')
    with pytest.raises(ModuleNotFoundError):
        Config.fromfile(runtime(scope))
    assert read_config(runtime(scope)).default_scope == scope


COMMANDS = [
    (False, 'mmpretrain', r'mmpretrain'),
    (False, 'mmdet', r"'mmst\[det\]'"),
    (False, 'mmseg', r"'mmst\[seg\]'"),
    (True, 'mmpretrain', 'onedl-mmpretrain'),
    (True, 'mmdet', 'onedl-mmdetection'),
    (True, 'mmseg', 'onedl-mmsegmentation'),
    (True, 'mmpose', r"'mmst\[det,pose\]' && pip install --no-deps mmpose"),
]


@pytest.mark.parametrize('onedl, scope, package', COMMANDS)
def test_missing_toolbox_is_named_as_its_family_does(
    onedl, scope, package, runtime, monkeypatch
):
    monkeypatch.setattr(installation, 'has_onedl', lambda: onedl)
    monkeypatch.setattr(toolbox, 'find_spec', lambda name: None)
    for module in ('mmst.launch.toolbox', 'mmengine.config.config'):
        monkeypatch.setattr(f'{module}.is_installed', lambda name: False)
    message = f': pip install {package}$'
    with pytest.raises(ModuleNotFoundError, match=message):
        check_toolbox(Config(dict(default_scope=scope)))
    with pytest.raises(ModuleNotFoundError, match=message):
        read_config(runtime(scope))


def test_functions_of_a_stock_base_get_no_scope_passed(runtime):
    base = 'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'
    loader = read_config(runtime('mmpretrain', base)).train_dataloader
    assert loader.collate_fn == dict(type='default_collate')
    loader.update(dataset=TinyImages(), batch_size=4, num_workers=0)
    loader.update(persistent_workers=False, pin_memory=False)
    batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    assert isinstance(batch['inputs'], torch.Tensor)
    assert batch['inputs'].shape == (4, 3, 16, 16)


def test_modules_named_on_the_command_line_are_imported(
    runtime, tmp_path, monkeypatch
):
    (tmp_path / 'my_layers.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'my_layers', raising=False)
    read_config(runtime('mmpretrain'), {'custom_imports.imports': 'my_layers'})
    assert 'my_layers' in sys.modules
