"""What ``pip install`` and ``pip wheel`` make of the repository."""

import re
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import is_openmmlab, make_environment, run_process

CONFIG = 'configs/st/resnet50_st_in1k.py'
# tests/test_torch_alone.py runs it there.
CORE = 'from mmst.subnets import *; import mmst; print(mmst.__file__)'

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ('pip', 'setuptools', 'wheel'))),
    reason='this environment cannot build packages',
)


@pytest.fixture
def source(tmp_path):
    """A copy of the repository, with what earlier builds and runs leave."""
    source = tmp_path / 'source'
    for name in ('mmst', 'configs', 'tools', 'demo', 'requirements'):
        ignored = shutil.ignore_patterns('.mim', '__pycache__')
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copyfile(path, source / path.name)
    for left in ('mmst/.mim/earlier.py', 'configs/st/__pycache__/x.pyc'):
        (source / left).parent.mkdir()
        (source / left).touch()
    return source


def run(*command, cwd, python=sys.executable):
    # Without the folders that another environment shows.
    return run_process(python, *command, cwd=cwd, PYTHONPATH='')


def pip(command, *args, cwd):
    offline = ('--no-index', '--no-deps', '--no-build-isolation')
    run('-m', 'pip', command, *offline, *args, cwd=cwd)


def build_wheel(source, out):
    pip('wheel', '--wheel-dir', out, source, cwd=out.parent)
    (wheel,) = out.glob('mmst-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def install(prefix, *what):
    # Into a prefix of its own, and blind to an mmst that is installed: the
    # environment that runs the tests stays as it is.
    where = ('--ignore-installed', '--prefix', prefix)
    pip('install', *where, *what, cwd=prefix.parent)


def check_installed(file, folder):
    """Check the package, its core and its tools' help with torch alone."""
    python = make_environment(folder / 'environment', is_openmmlab)
    install(folder / 'environment', file)
    where = Path(
        run('-c', CORE, cwd=folder, python=python).splitlines()[-1]
    ).parent
    assert folder in where.parents
    names = {'configs', 'tools', 'model-index.yml'}
    assert {path.name for path in (where / '.mim').iterdir()} == names
    assert (where / 'py.typed').exists()
    train = where / '.mim' / 'tools' / 'train.py'
    assert 'usage: ' in run(train, '--help', cwd=folder, python=python)


@pytest.mark.slow
def test_source_distribution(source, tmp_path):
    run('setup.py', 'sdist', '--dist-dir', tmp_path / 'out', cwd=source)
    (file,) = tmp_path.glob('out/mmst-*')
    check_installed(file, tmp_path)


def test_wheel_holds_configs_and_tools_and_pins_no_openmmlab(source, tmp_path):
    files = build_wheel(source, tmp_path / 'out')
    (file,) = tmp_path.glob('out/mmst-*')
    check_installed(file, tmp_path)
    assert files[f'mmst/.mim/{CONFIG}'] == (ROOT / CONFIG).read_bytes()
    assert {name.split('/')[0].split('-')[0] for name in files} == {'mmst'}
    assert 'mmst/models/__init__.py' in files
    assert not [name for name in files if '__pycache__' in name]

    (name,) = (name for name in files if name.endswith('METADATA'))
    metadata = files[name].decode()
    extras = set(re.findall(r'^Provides-Extra: (\S+)', metadata, re.M))
    assert extras == {'det', 'seg', 'pose', 'tests', 'all', 'mim'}
    required = re.findall(r'^Requires-Dist: (.*)$', metadata, re.M)
    assert not [line for line in required if '==' in line.split(';')[0]]
    always = [line for line in required if 'extra ==' not in line]
    assert sorted(always) == ['matplotlib', 'numpy', 'scipy']
    for extra, package in (
        ('det', 'mmdet'),
        ('seg', 'mmsegmentation'),
        ('pose', 'xtcocotools'),
        ('tests', 'pytest'),
        ('all', 'mmdet'),
        ('all', 'xtcocotools'),
        ('mim', 'mmcv'),
    ):
        line = re.compile(rf'{package}\b.*extra == .{extra}.$')
        assert any(map(line.match, required)), (extra, package)
    # mmpose itself would bring chumpy, which does not build.
    assert not [line for line in required if line.startswith('mmpose')]


@pytest.mark.slow
def test_editable_install_links_configs_and_tools(source, tmp_path):
    shutil.rmtree(source / 'mmst/.mim')
    for _ in range(2):  # it can be repeated
        install(tmp_path / 'prefix', '--editable', source)
    old = source / CONFIG
    assert old.read_text() == (ROOT / CONFIG).read_text()
    mim = source / 'mmst' / '.mim'
    assert (mim / 'tools' / 'train.py').is_file()
    assert (mim / 'model-index.yml').is_file()
    # Neither links nor an earlier build leak into a wheel.
    build_wheel(source, tmp_path / 'first')
    old.rename(old.with_name('new.py'))
    files = build_wheel(source, tmp_path / 'second')
    assert 'mmst/.mim/configs/st/new.py' in files
    assert f'mmst/.mim/{CONFIG}' not in files
    assert (mim / 'configs/st/new.py').is_file()
    # Relative links survive a move of the repository.
    source.rename(tmp_path / 'moved')
    assert (tmp_path / 'moved/mmst/.mim/configs/st/new.py').is_file()
