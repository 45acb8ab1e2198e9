"""Toolboxes are found by import name, whichever family they come from."""

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmst.launch import distributions, toolbox
from mmst.launch.distributions import (
    find_bases_by_import_name,
    get_distribution_name,
    is_distributed,
)
from mmst.launch.toolbox import (
    TOOLBOXES,
    check_toolbox,
    read_config,
)


@pytest.fixture
def runtime(tmp_path):
    """A config on top of a toolbox's default runtime."""

    def write(scope: str) -> str:
        path = tmp_path / 'x.py'
        path.write_text(f"_base_ = '{scope}::_base_/default_runtime.py'")
        return str(path)

    return write


@pytest.mark.parametrize('scope', list(TOOLBOXES))
def test_each_toolbox_is_imported(scope):
    pytest.importorskip(scope)
    check_toolbox(Config(dict(default_scope=scope)))


@pytest.mark.parametrize('scope', list(TOOLBOXES))
def test_bases_of_each_toolbox_are_read(scope, runtime):
    pytest.importorskip(scope)
    assert read_config(runtime(scope)).default_scope == scope


@pytest.mark.parametrize('scope', list(TOOLBOXES))
def test_bases_need_no_distribution_of_that_name(scope, runtime, monkeypatch):
    pytest.importorskip(scope)
    missing = 'some-' + scope
    monkeypatch.setitem(MODULE2PACKAGE, scope, missing)
    monkeypatch.setitem(distributions.OPENMMLAB, scope, missing)
    with pytest.raises(ModuleNotFoundError, match=f"'{scope}::' base of"):
        read_config(runtime(scope))
    find_bases_by_import_name()
    assert read_config(runtime(scope)).default_scope == scope


def test_distributions_are_called_what_a_user_is_told():
    for module in ('mmengine', 'mmcv', *TOOLBOXES):
        pytest.importorskip(module)
        assert is_distributed(get_distribution_name(module)), module


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
    monkeypatch.setattr(toolbox, 'has_onedl', lambda: onedl)
    monkeypatch.setattr(toolbox, 'find_spec', lambda name: None)
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda _: False)
    message = f': pip install {package}$'
    with pytest.raises(ModuleNotFoundError, match=message):
        check_toolbox(Config(dict(default_scope=scope)))
    with pytest.raises(ModuleNotFoundError, match=message):
        read_config(runtime(scope))


def test_family_is_told_by_mmengine(monkeypatch):
    for installed, name in (
        ('mmengine', 'mmsegmentation'),
        ('onedl-mmengine', 'onedl-mmsegmentation'),
    ):
        monkeypatch.setattr(
            distributions, 'is_distributed', lambda n, i=installed: n == i
        )
        assert get_distribution_name('mmseg') == name
        assert get_distribution_name('mmpose') == 'mmpose'
