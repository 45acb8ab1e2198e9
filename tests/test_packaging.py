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

from tests.conftest import ROOT
from tests.environments import is_openmmlab, make_environment

OPENMMLAB = {
    *('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmsegmentation', 'mmpose'),
    'torch',
}

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ('pip', 'setuptools', 'wheel'))),
    reason='this environment cannot build packages',
)


# One line for each thing that the core does, with torch alone.
EVERYTHING = """
import torch
import torchvision
import mmst
from mmst.subnets import *

model = torchvision.models.resnet18(num_classes=3)
images = torch.rand(2, 3, 64, 64)
sampler = SubnetSampler(2, min_depth=1, size_range=(0.5, 1.0)).fit(model)
assert len(find_stages(model)) == 4
for subnet in sampler.draw(0):
    with activate(model, subnet):
        model(resize_inputs(images, subnet.size))
runner = PassRunner(model)
losses = runner.run([None, *sampler.draw(0)], lambda s: model(images).sum())
assert len(losses) == 3
assert predict_iteration_cost(model, images[:1], sampler) > 1
SubnetInputs(['crop', 'flip', 'jitter'])(images, 0.5)
assert measure_cost(model, images[:1]).total > 0
assert export_subnet(model, (1, 1, 1, 1))(images).shape == (2, 3)
assert kl_minus(model(images), model(images)) >= 0
assert mmst.subnets.find_stages is find_stages
print(mmst.__file__)
"""


@pytest.fixture
def repo(tmp_path):
    """The packaging of this repository around a few small files."""
    repo = tmp_path / 'repo'
    for name in (
        *('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE'),
        *('mmst/__init__.py', 'mmst/py.typed', 'mmst/version.py'),
    ):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, repo / name)
    shutil.copytree(ROOT / 'requirements', repo / 'requirements')
    write(repo / 'mmst/models/__init__.py')
    write(repo / 'configs/st/resnet50_st.py', 'x = 1\n')
    write(repo / 'configs/st/__pycache__/resnet50_st.pyc')
    write(repo / 'tools/train.py')
    write(repo / 'demo/compare.py')
    write(repo / '.dev_scripts/check_code.sh')
    write(repo / 'model-index.yml', 'Import: []\n')
    return repo


def write(path, text=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*command, cwd, python=sys.executable):
    done = subprocess.run(
        [python, *map(str, command)],
        cwd=cwd,
        # Without those of a folder that another environment shows.
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


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


@pytest.mark.parametrize(
    'kind', ['wheel', pytest.param('sdist', marks=pytest.mark.slow)]
)
def test_installed_it_works_with_torch_alone(tmp_path, kind):
    """The whole package, its core and the help of its tools."""
    source, built = tmp_path / 'source', tmp_path / 'built'
    for name in ('mmst', 'configs', 'tools', 'requirements'):
        shutil.copytree(
            ROOT / name,
            source / name,
            ignore=shutil.ignore_patterns('.mim', '__pycache__'),
        )
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copyfile(path, source / path.name)
    write(source / 'mmst/.mim/of_an_earlier_build.py')
    if kind == 'wheel':
        build_wheel(source, built)
    else:
        run('setup.py', 'sdist', '--dist-dir', built, cwd=source)
    (file,) = built.glob('mmst-*')
    python = make_environment(tmp_path / 'environment', is_openmmlab)
    install(tmp_path / 'environment', file)
    where = Path(
        run('-c', EVERYTHING, cwd=tmp_path, python=python).splitlines()[-1]
    ).parent
    assert tmp_path in where.parents
    names = {'configs', 'tools', 'model-index.yml'}
    assert {path.name for path in (where / '.mim').iterdir()} == names
    assert (where / 'py.typed').exists()
    train = where / '.mim' / 'tools' / 'train.py'
    assert 'usage: ' in run(train, '--help', cwd=tmp_path, python=python)


def test_wheel_holds_configs_and_tools_and_pins_no_openmmlab(repo, tmp_path):
    files = build_wheel(repo, tmp_path / 'out')
    assert files['mmst/.mim/configs/st/resnet50_st.py'] == b'x = 1\n'
    assert 'mmst/.mim/tools/train.py' in files
    assert {n.split('/')[2] for n in files if n.startswith('mmst/.mim/')} == {
        'configs',
        'tools',
        'model-index.yml',
    }
    assert {'mmst/models/__init__.py', 'mmst/py.typed'} < files.keys()
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
def test_editable_install_links_configs_and_tools(repo, tmp_path):
    for _ in range(2):  # it can be repeated
        install(tmp_path / 'prefix', '--editable', repo)
    old = repo / 'configs/st/resnet50_st.py'
    assert old.read_text() == 'x = 1\n'
    mim = repo / 'mmst' / '.mim'
    assert (mim / 'tools' / 'train.py').is_file()
    assert (mim / 'model-index.yml').is_file()
    # Neither links nor an earlier build leak into a wheel.
    build_wheel(repo, tmp_path / 'first')
    old.rename(repo / 'configs/st/new.py')
    files = build_wheel(repo, tmp_path / 'second')
    configs = [name for name in files if '/.mim/configs' in name]
    assert configs == ['mmst/.mim/configs/st/new.py']
    if os.name == 'posix':
        assert (mim / 'configs/st/new.py').is_file()
        # Relative links survive a move of the repository.
        repo.rename(tmp_path / 'moved')
        assert (tmp_path / 'moved/mmst/.mim/configs/st/new.py').is_file()


def test_stack_pins_every_openmmlab_package():
    pins = (ROOT / 'requirements' / 'stack-openmmlab.txt').read_text()
    assert set(re.findall('^(.+?)==', pins, re.M)) >= OPENMMLAB
