"""Importing mmst on top of missing, unsuitable and suitable packages.

Each case is a fresh interpreter without site-packages, in which the packages
that mmst needs are stubs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

OPENMMLAB = {
    'torch': '2.1.2+cpu',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmpretrain': '1.2.0',
}
ONEDL = {
    'torch': '2.9.1',
    'mmengine': '0.10.12',
    'mmcv': '2.3.6',
    'mmpretrain': '1.3.6',
}
RANGES = {
    'torch': '>=2.1.0',
    'mmengine': '>=0.10.0,<1.0.0',
    'mmcv': '>=2.1.0,<2.4.0',
    'mmpretrain': '>=1.2.0,<2.0.0',
}


@pytest.fixture
def packages(tmp_path):
    """A folder with mmst's own ``__init__``, its check, and nothing else."""
    mmst = tmp_path / 'mmst'
    (mmst / 'launch').mkdir(parents=True)
    for name in (
        '__init__.py',
        'launch/__init__.py',
        'launch/distributions.py',
        'openmmlab.py',
        'requirements_check.py',
        'version.py',
    ):
        shutil.copyfile(ROOT / 'mmst' / name, mmst / name)
    (mmst / 'subnets.py').write_text('')
    (mmst / 'engine.py').write_text('from mmst import openmmlab')
    return tmp_path


def add_onedl_metadata(folder):
    metadata = folder / 'onedl_mmengine-0.10.12.dist-info' / 'METADATA'
    metadata.parent.mkdir()
    metadata.write_text('Name: onedl-mmengine\nVersion: 0.10.12\n')


def add_stubs(folder, versions):
    for name, version in versions.items():
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text(
            f'__version__ = {version!r}\n'
        )


def import_mmst(folder, code='import mmst.engine'):
    """Return what the interpreter printed on importing mmst's engine."""
    # -S: the packages of the environment that runs the tests don't count.
    command = [
        sys.executable,
        '-S',
        '-c',
        f'{code}; print("imported", mmst.__version__)',
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def assert_refused(output, name, *found):
    assert 'ImportError: mmst needs ' + name + RANGES[name] in output
    for text in found:
        assert text in output
    assert f'allowed: {name}{RANGES[name]}' in output
    command = [line for line in output.splitlines() if 'type:' in line][0]
    assert 'pip install ' in command
    assert f'"{name}{RANGES[name]}"' in command


@pytest.mark.parametrize('versions', [OPENMMLAB, ONEDL])
def test_both_stacks_are_accepted(packages, versions):
    add_stubs(packages, versions)
    assert 'imported 0.1.0' in import_mmst(packages)


@pytest.mark.parametrize('name', list(OPENMMLAB))
def test_missing_package_is_named(packages, name):
    add_stubs(packages, {k: v for k, v in OPENMMLAB.items() if k != name})
    assert_refused(import_mmst(packages), name, f'no {name} is installed for ')


@pytest.mark.parametrize(
    'missing, distribution',
    [('mmcv', 'onedl-mmcv'), ('torch', 'torch')],
)
def test_command_has_the_names_of_the_family(packages, missing, distribution):
    add_stubs(packages, {k: v for k, v in ONEDL.items() if k != missing})
    add_onedl_metadata(packages)
    output = import_mmst(packages)
    assert f'mmst needs {missing}{RANGES[missing]}' in output
    assert f'"{distribution}{RANGES[missing]}"' in output


@pytest.mark.parametrize(
    'name, version',
    [
        ('torch', '2.0.1'),
        ('torch', '1.13.1+cu117'),
        ('mmengine', '0.9.1'),
        ('mmengine', '1.0.0'),
        ('mmcv', '2.0.1'),
        ('mmcv', '2.4.0'),
        ('mmcv', '1.7.2'),
        ('mmpretrain', '1.1.1'),
        ('mmpretrain', '2.0.0'),
    ],
)
def test_unsuitable_version_is_named(packages, name, version):
    add_stubs(packages, {**OPENMMLAB, name: version})
    assert_refused(
        import_mmst(packages),
        name,
        f'{name} {version} was found at ',
        str(packages / name / '__init__.py'),
    )


def test_our_message_comes_before_the_assertion_of_mmpretrain(packages):
    add_stubs(packages, {**OPENMMLAB, 'mmcv': '2.5.0'})
    (packages / 'mmpretrain' / '__init__.py').write_text(
        'import mmcv\nassert mmcv.__version__ < "2.4"\n'
    )
    output = import_mmst(packages)
    assert_refused(output, 'mmcv', 'mmcv 2.5.0')
    assert 'AssertionError' not in output


def test_package_that_cannot_be_imported_is_named(packages):
    """mmpretrain 1.0 asserts an mmcv range that mmcv 2.1 is not in."""
    add_stubs(packages, OPENMMLAB)
    (packages / 'mmpretrain' / 'version.py').write_text(
        '__version__ = "1.0.0"\n'
    )
    (packages / 'mmpretrain' / '__init__.py').write_text(
        'from .version import __version__\n'
        'raise AssertionError("MMCV==2.1.0 is incompatible")\n'
    )
    assert_refused(
        import_mmst(packages),
        'mmpretrain',
        'mmpretrain 1.0.0 cannot be imported '
        '(AssertionError: MMCV==2.1.0 is incompatible)',
    )


def test_missing_dependency_of_a_package_is_told_from_a_missing_package(
    packages,
):
    add_stubs(packages, OPENMMLAB)
    (packages / 'mmcv' / '__init__.py').write_text('import cv2\n')
    output = import_mmst(packages)
    assert_refused(output, 'mmcv', "No module named 'cv2'")
    assert 'no mmcv is installed' not in output


def test_folder_of_the_same_name_is_not_taken_for_the_package(packages):
    add_stubs(packages, OPENMMLAB)
    (packages / 'mmcv' / '__init__.py').unlink()
    assert_refused(import_mmst(packages), 'mmcv', 'has no version')


@pytest.mark.parametrize('name', [n for n in OPENMMLAB if n != 'torch'])
def test_core_needs_torch_alone(packages, name):
    add_stubs(packages, {'torch': OPENMMLAB['torch'], name: '0.0.1'})
    assert 'imported 0.1.0' in import_mmst(packages, 'import mmst')


@pytest.mark.parametrize(
    'stack, name', [(OPENMMLAB, 'mmcv-lite'), (ONEDL, 'onedl-mmcv')]
)
def test_missing_mmcv_tells_what_needs_no_compiler(packages, stack, name):
    if stack is ONEDL:
        add_onedl_metadata(packages)
    add_stubs(packages, {k: v for k, v in stack.items() if k != 'mmcv'})
    assert (
        'or, for classification alone, with nothing to compile: pip install '
        f'--no-cache-dir "{name}{RANGES["mmcv"]}"\n'
    ) in import_mmst(packages)


def test_mim_is_told_the_same_ranges():
    lines = (ROOT / 'requirements' / 'mminstall.txt').read_text().split()
    assert sorted(lines) == sorted(
        name + RANGES[name] for name in ('mmcv', 'mmengine', 'mmpretrain')
    )
