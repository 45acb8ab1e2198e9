"""What ``pip install`` and ``pip wheel`` make of the repository."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPENMMLAB = (
    'mmengine',
    'mmcv',
    'mmpretrain',
    'mmdet',
    'mmsegmentation',
    'mmpose',
    'torch',
)

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ('pip', 'setuptools', 'wheel'))),
    reason='this environment cannot build packages',
)


@pytest.fixture
def repo(tmp_path):
    """The packaging of this repository around a few small files."""
    repo = tmp_path / 'repo'
    for name in (
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'LICENSE',
        'mmst/__init__.py',
        'mmst/py.typed',
        'mmst/version.py',
    ):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, repo / name)
    shutil.copytree(ROOT / 'requirements', repo / 'requirements')
    write(repo / 'mmst/models/__init__.py')
    write(repo / 'configs/st/resnet50_st.py', 'x = 1\n')
    write(repo / 'configs/st/__pycache__/resnet50_st.pyc')
    write(repo / 'tools/train.py')
    write(repo / 'demo/classification.py')
    write(repo / '.dev_scripts/check_code.sh')
    write(repo / 'model-index.yml', 'Import: []\n')
    return repo


def write(path, text=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def build_wheel(source, out):
    run(
        '-m',
        'pip',
        'wheel',
        '--no-index',
        '--no-deps',
        '--no-build-isolation',
        '--wheel-dir',
        out,
        source,
        cwd=out.parent,
    )
    (wheel,) = out.glob('mmst-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def install_editable(repo, prefix):
    # Into a prefix of its own, and blind to an mmst that is installed: the
    # environment that runs the tests stays as it is.
    run(
        '-m',
        'pip',
        'install',
        '--no-index',
        '--no-deps',
        '--no-build-isolation',
        '--ignore-installed',
        '--prefix',
        prefix,
        '--editable',
        repo,
        cwd=prefix.parent,
    )


def test_wheel_holds_configs_and_tools(repo, tmp_path):
    files = build_wheel(repo, tmp_path / 'out')
    assert files['mmst/.mim/configs/st/resnet50_st.py'] == b'x = 1\n'
    assert 'mmst/.mim/tools/train.py' in files
    assert 'mmst/.mim/model-index.yml' in files
    assert {n.split('/')[2] for n in files if n.startswith('mmst/.mim/')} == {
        'configs',
        'tools',
        'model-index.yml',
    }
    assert 'mmst/models/__init__.py' in files
    assert 'mmst/py.typed' in files
    assert not [name for name in files if '__pycache__' in name]


@pytest.mark.slow
def test_wheel_from_an_edited_tree_is_up_to_date(repo, tmp_path):
    """Neither links of an editable install nor an earlier build leak in."""
    install_editable(repo, tmp_path / 'prefix')
    build_wheel(repo, tmp_path / 'first')
    (repo / 'configs/st/resnet50_st.py').rename(repo / 'configs/st/new.py')
    files = build_wheel(repo, tmp_path / 'second')
    assert [
        name for name in files if name.startswith('mmst/.mim/configs')
    ] == ['mmst/.mim/configs/st/new.py']


@pytest.mark.slow
def test_sdist_is_enough_to_build_the_wheel(repo, tmp_path):
    install_editable(repo, tmp_path / 'prefix')
    run('setup.py', 'sdist', '--dist-dir', tmp_path / 'sdist', cwd=repo)
    (sdist,) = (tmp_path / 'sdist').glob('mmst-*.tar.gz')
    shutil.unpack_archive(str(sdist), str(tmp_path / 'unpacked'))
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    assert not (unpacked / 'mmst' / '.mim').exists()
    files = build_wheel(unpacked, tmp_path / 'out')
    assert 'mmst/.mim/configs/st/resnet50_st.py' in files
    assert 'mmst/.mim/tools/train.py' in files
    assert 'mmst/.mim/model-index.yml' in files
    assert 'mmst/py.typed' in files


@pytest.mark.slow
def test_editable_install_links_configs_and_tools(repo, tmp_path):
    install_editable(repo, tmp_path / 'prefix')
    mim = repo / 'mmst' / '.mim'
    assert (mim / 'tools' / 'train.py').is_file()
    assert (mim / 'model-index.yml').is_file()
    if os.name == 'posix':
        write(repo / 'configs/st/added_later.py')
        assert (mim / 'configs/st/added_later.py').is_file()
        # Relative links survive a move of the repository.
        repo.rename(tmp_path / 'moved')
        assert (
            tmp_path / 'moved/mmst/.mim/configs/st/resnet50_st.py'
        ).is_file()


@pytest.mark.slow
def test_editable_install_can_be_repeated(repo, tmp_path):
    install_editable(repo, tmp_path / 'prefix')
    install_editable(repo, tmp_path / 'prefix')
    assert (repo / 'configs/st/resnet50_st.py').read_text() == 'x = 1\n'


@pytest.mark.slow
def test_extras_do_not_pin_openmmlab(repo, tmp_path):
    files = build_wheel(repo, tmp_path / 'out')
    (metadata,) = (
        text.decode()
        for name, text in files.items()
        if name.endswith('METADATA')
    )
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
        assert any(
            re.match(rf'{package}\b.*extra == .{extra}.$', line)
            for line in required
        ), (extra, package)
    # mmpose itself would bring chumpy, which does not build.
    assert not [line for line in required if line.startswith('mmpose')]


def test_stack_pins_every_openmmlab_package():
    lines = (
        (ROOT / 'requirements' / 'stack-openmmlab.txt')
        .read_text()
        .splitlines()
    )
    pinned = {line.split('==')[0] for line in lines if '==' in line}
    assert set(OPENMMLAB) <= pinned
