"""Missing and unsuitable packages are named, with what to type."""

import sys
from types import ModuleType

import pytest

from mmst import installation
from mmst.installation import (
    ONEDL,
    RANGES,
    TOOLBOXES,
    check_packages,
)
from tests.conftest import ROOT
from tests.environments import run_process

VERSIONS = dict(
    openmmlab=dict(
        torch='2.1.2+cpu', mmengine='0.10.7', mmcv='2.1.0', mmpretrain='1.2.0'
    ),
    onedl=dict(
        torch='2.9.1', mmengine='0.10.12', mmcv='2.3.6', mmpretrain='1.3.6'
    ),
)


@pytest.fixture
def installed(monkeypatch):
    """Versions of stand-ins for the packages, or the errors they raise."""
    installed = dict(VERSIONS['openmmlab'])

    def import_stand_in(name):
        found = installed.get(
            name, ModuleNotFoundError(f'no module {name}', name=name)
        )
        if isinstance(found, Exception):
            raise found
        module = ModuleType(name)
        module.__file__, module.__path__ = None, [f'/site/{name}']
        if found is not None:
            module.__version__ = found
        return module

    monkeypatch.setattr(installation, 'import_module', import_stand_in)
    monkeypatch.setattr(installation, 'has_onedl', lambda: False)
    return installed


@pytest.mark.parametrize('stack', VERSIONS)
def test_both_stacks_are_accepted(installed, stack):
    installed.update(VERSIONS[stack])
    check_packages(*RANGES)


UNFIT = [
    ('torch', '2.0.1'),
    ('torch', '1.13.1+cu117'),
    ('mmengine', '0.9.1'),
    ('mmengine', '1.0.0'),
    ('mmcv', '2.0.0rc4'),
    ('mmcv', '2.4'),
    ('mmcv', '1.7.2'),
    ('mmpretrain', '1.1.1'),
    ('mmpretrain', '2.0.0'),
]
WRONG = [
    *(
        (name, found, f'{name} {found} was found at [')
        for name, found in UNFIT
    ),
    # A folder of that name on sys.path.
    ('mmcv', None, "mmcv without a version was found at ['/site/mmcv']"),
    # mmpretrain 1.0 asserts an mmcv range that mmcv 2.1 is not in.
    (
        'mmpretrain',
        AssertionError('MMCV==2.1.0 is incompatible'),
        'mmpretrain cannot be imported '
        '(AssertionError: MMCV==2.1.0 is incompatible)',
    ),
    (
        'mmcv',
        ModuleNotFoundError("No module named 'cv2'", name='cv2'),
        "mmcv cannot be imported (ModuleNotFoundError: No module named 'cv2')",
    ),
    *(
        (name, ModuleNotFoundError(name=name), f'no {name} is installed for ')
        for name in RANGES
    ),
]


@pytest.mark.parametrize('name, found, told', WRONG)
def test_what_is_wrong_is_told(installed, name, found, told):
    installed[name] = found
    with pytest.raises(ImportError) as error:
        check_packages(*RANGES)
    first, allowed, command, *_ = str(error.value).splitlines()
    assert first.startswith(f'mmst needs {name}{RANGES[name]}, but {told}')
    assert allowed == f'  allowed: {name}{RANGES[name]}'
    assert command.startswith('  type:    pip install ')
    assert command.endswith(f'"{name}{RANGES[name]}"')
    if name != 'torch':
        check_packages('torch')  # the core needs no other


def test_message_about_mmcv_comes_before_that_of_mmpretrain(installed):
    installed.update(mmcv='2.5.0', mmpretrain=AssertionError('mmcv < 2.4'))
    with pytest.raises(ImportError, match='but mmcv 2.5.0 was found'):
        check_packages(*RANGES)


@pytest.mark.parametrize('onedl', [False, True])
def test_commands_have_the_names_of_the_family(installed, monkeypatch, onedl):
    monkeypatch.setattr(installation, 'has_onedl', lambda: onedl)
    installed.update(mmcv='0.1', torch='0.1')
    with pytest.raises(ImportError, match=f'"torch{RANGES["torch"]}"\n'):
        check_packages('torch')
    mmcv, lite = ['onedl-mmcv'] * 2 if onedl else ['mmcv', 'mmcv-lite']
    told = (
        f'"{mmcv}{RANGES["mmcv"]}"\n'
        '  or, for classification alone, with nothing to compile: pip '
        f'install --no-cache-dir "{lite}{RANGES["mmcv"]}"\n'
    )
    with pytest.raises(ImportError, match=told):
        check_packages('mmcv')


def test_names_are_those_of_what_is_installed_here():
    """The family is told by MMEngine's name for pip."""
    for module in ('mmengine', 'mmcv', *TOOLBOXES):
        pytest.importorskip(module)
    onedl = installation.has_onedl()
    for module in ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg'):
        pip_name = 'mmsegmentation' if module == 'mmseg' else module
        assert installation.version(ONEDL[module] if onedl else pip_name)


def test_mim_is_told_the_same_ranges():
    lines = (ROOT / 'requirements' / 'mminstall.txt').read_text().split()
    assert sorted(lines) == sorted(
        name + RANGES[name] for name in ('mmcv', 'mmengine', 'mmpretrain')
    )


@pytest.mark.parametrize('flags', [[], ['-S']])
def test_importing_mmst_imports_and_patches_nothing_else(flags):
    """-S: without site-packages, as where nothing is installed."""
    code = (
        'import sys, mmst; names = {*sys.modules}\n'
        'assert not names & {"torch", "mmengine", "mmst.launch"}, names\n'
    )
    if flags:
        code += 'mmst.subnets'
    output = run_process(sys.executable, *flags, '-c', code, status=len(flags))
    told = 'mmst needs torch>=2.1.0, but no torch is installed for '
    assert (told in output) is bool(flags)
