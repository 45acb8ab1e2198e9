"""tools/install.sh: what it refuses, and how it goes on after a stop.

Nothing is downloaded and no environment is made: the only programs on PATH are
a few shell commands and stand-ins for Python that note how they are called.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *('bash', 'awk', 'basename', 'cat', 'chmod', 'cksum', 'cp', 'cut', 'df'),
    *('dirname', 'env', 'getconf', 'grep', 'ls', 'mkdir', 'mv', 'rm', 'tail'),
    *('tee', 'touch'),
)

pytestmark = pytest.mark.skipif(
    shutil.which('bash') is None, reason='install.sh is a bash script'
)

# Answers as python, `python -m venv` and `python -m pip` do. FAKE_ variables
# say how: which version, whether a built mmcv is found, which call fails.
FAKE_PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$FAKE_LOG"
packages=${0%/bin/*}/lib/python3.x/site-packages
wheels=${0%/bin/*}/mmst-wheels
add_mmcv_wheel() {  # as the distribution in "mmcv==2.1.0" is called in a file
    local name=${1%%==*}
    touch "$wheels/${name//-/_}-${1#*==}-cp3x-cp3x-linux_x86_64.whl"
}
case "$*" in
*version_info*) echo "${FAKE_VERSION:-3.11.7}" ;;
*ensurepip*) [ -z "${FAKE_NO_VENV:-}" ] ;;
*get_path*) echo "$FAKE_INCLUDE" ;;
tools/precompile_header.py*)
    echo "header: $CPPFLAGS" >>"$FAKE_LOG"
    [ -z "${FAKE_NO_HEADER:-}" ]
    ;;
"-m venv "*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    ;;
"-m pip --version") ;;
"-m pip download "*)
    [ -n "${FAKE_BUILT_MMCV:-}" ] || exit 1
    add_mmcv_wheel "${@: -1}"
    ;;
"-m pip wheel "*)
    printf 'wheel: %s\npath: %s\n' "$CPPFLAGS" "$PATH" >>"$FAKE_LOG"
    printf '  [10/20] c++ -c some_file.cpp\n'
    add_mmcv_wheel "${@: -1}"
    ;;
"-m pip install "*)
    echo "install: ${CPPFLAGS:-}" >>"$FAKE_LOG"
    if [ -n "${FAKE_FAILS_AT:-}" ]; then
        case "$*" in *"$FAKE_FAILS_AT"*) exit 1 ;; esac
    fi
    case "$*" in
    *" -r "*) cat "${@: -1}" >>"$FAKE_LOG" ;;
    *mmcv-2*.whl)
        installed=$packages/$(basename "${@: -1}" -cp3x-cp3x-linux_x86_64.whl)
        mkdir -p "$installed.dist-info" "$packages/mmcv"
        touch "$installed.dist-info/RECORD" "$packages/mmcv/_ext.so"
        ;;
    *mmcv-lite==*|*mmcv==*)
        installed=${*: -1}
        installed=$packages/${installed//-/_}
        installed=${installed/==/-}
        mkdir -p "$installed.dist-info" "$packages/mmcv"
        touch "$installed.dist-info/RECORD" "$packages/mmcv/lite"
        ;;
    esac
    ;;
-)
    cat >/dev/null
    echo "imported: $NAMES" >>"$FAKE_LOG"
    ;;
esac
"""


class Machine:
    """A repository and a PATH of its own to run install.sh in."""

    def __init__(self, folder):
        self.repo = folder / 'repo'
        self.path = folder / 'bin'
        self.log = folder / 'calls.log'
        self.include = folder / 'include'
        for name in (
            'tools/install.sh',
            'tools/mmcv.sh',
            'tools/stack.sh',
            'tools/run_tests.sh',
            'tools/quickstart.sh',
            'setup.py',
            'pyproject.toml',
            'mmst/version.py',
        ):
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.repo / name)
        shutil.copytree(ROOT / 'requirements', self.repo / 'requirements')
        self.path.mkdir()
        self.include.mkdir()
        for name in COMMANDS:
            os.symlink(shutil.which(name), self.path / name)

    @property
    def venv(self):
        return self.repo / '.venv'

    def add_command(self, name, script):
        (self.path / name).write_text(script)
        (self.path / name).chmod(0o755)

    @property
    def packages(self):
        """What is installed, without the fakes' own files."""
        folder = next(self.repo.glob('.venv*/lib/python3.x/site-packages'))
        return sorted(
            str(path.relative_to(folder))
            for path in folder.rglob('*')
            if path.name != 'RECORD'
        )

    def add_compiler(self, maker='Free Software Foundation', status=0):
        self.add_command(
            'c++',
            '#!/usr/bin/env bash\n[ "$*" = --version ] || cat >/dev/null\n'
            f'echo "{maker}"\nexit {status}\n',
        )

    def add_python(self, version, place=None):
        """Add one whose version does not depend on FAKE_VERSION."""
        minor = version.rpartition('.')[0]
        script = FAKE_PYTHON.replace('${FAKE_VERSION:-3.11.7}', version)
        folder = place or self.path
        folder.mkdir(parents=True, exist_ok=True)
        self.add_command(folder / f'python{minor}', script)

    def install(self, *args, **variables):
        """Return exit status, output, and the calls of Python it made."""
        return self.run('install.sh', *args, **variables)

    def run(self, tool, *args, **variables):
        """The same for another script in tools/."""
        self.log.write_text('')
        done = subprocess.run(
            ['bash', str(self.repo / 'tools' / tool), *args],
            env={
                'PATH': str(self.path),
                'HOME': str(self.repo.parent),
                'FAKE_LOG': str(self.log),
                'FAKE_INCLUDE': str(self.include),
                'MMST_DISK_GB': '0',
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout, self.log.read_text()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def assert_refused(result, *texts):
    """Refused, with these texts, and before anything was installed."""
    status, output, calls = result
    assert status == 1, output
    for text in texts:
        assert text in output, output
    assert 'pip install ' not in calls


def test_unfitting_python_is_refused(machine):
    machine.add_command('python3', FAKE_PYTHON)
    assert_refused(
        machine.install(FAKE_VERSION='3.14.0'),
        f'{machine.path}/python3 is Python 3.14.0',
        'Stack openmmlab: needed is Python 3.11 3.10 3.9 3.8 with venv',
        'PYTHON=/path/to/python3.11 bash tools/install.sh --stack openmmlab',
        'Stack onedl: needed is Python 3.12 3.13 with venv',
        'PYTHON=/path/to/python3.12 bash tools/install.sh --stack onedl',
    )
    assert not list(machine.repo.glob('.venv*'))


def test_stacks_side_by_side(machine):
    """Each with its pins; a built mmcv needs no compiler."""
    machine.add_python('3.11.7')
    machine.add_python('3.12.1')
    for args, venv, mmcv, pins in (
        ([], '.venv', 'mmcv-2.1.0', ['torch==2.1.2', 'mmdet==3.3.0']),
        (
            ['--stack', 'onedl'],
            '.venv-onedl',
            'onedl_mmcv-2.3.6',
            ['torch==2.9.1', 'onedl-mmdetection==3.5.1'],
        ),
    ):
        status, output, calls = machine.install(*args, FAKE_BUILT_MMCV='yes')
        assert status == 0 and 'install.sh: done' in output, output
        assert f'Built mmcv: {mmcv}-cp3x' in output
        packages = machine.repo / venv / 'lib/python3.x/site-packages'
        assert set(os.listdir(packages)) == {'mmcv', f'{mmcv}.dist-info'}
        for pin in pins:
            assert pin in calls
        rest = calls[calls.index(' -r ') : calls.index(f'{mmcv}-cp3x')]
        assert 'mmcv==' not in rest and 'mmpose==' not in rest
        for name in ('mmpose', 'xtcocotools', 'panopticapi-lite'):
            (line,) = (
                line for line in calls.splitlines() if f'{name}==' in line
            )
            assert '--no-deps --no-build-isolation' in line
    assert f'Python 3.12.1: {machine.path}/python3.12' in output
    for args in ([], ['--stack=onedl']):
        assert 'nothing to do' in machine.install(*args)[1]


def test_stack_that_the_only_python_fits_is_taken(machine):
    machine.add_python('3.12.1')
    status, output, calls = machine.run(
        'run_tests.sh', 'tests/a.py', '-k', 'b c', FAKE_BUILT_MMCV='yes'
    )
    assert status == 0, output
    assert (
        'run_tests.sh: taking stack onedl, which Python 3.12.1 fits' in output
    )
    assert 'bash tools/run_tests.sh --stack openmmlab' in output
    assert output.count('taking stack') == 1
    assert (machine.repo / '.venv-onedl').exists()
    assert not machine.venv.exists()
    assert calls.endswith('--dist worksteal tests/a.py -k b c\n')

    machine.add_python('3.11.7')
    _, output, _ = machine.run('run_tests.sh', FAKE_BUILT_MMCV='yes')
    assert 'taking stack' not in output and machine.venv.exists()


@pytest.mark.parametrize(
    'version, stack', [('3.12.1', 'openmmlab'), ('3.11.7', 'onedl')]
)
def test_named_stack_without_its_python_is_refused(machine, version, stack):
    machine.add_python(version)
    assert_refused(
        machine.run('run_tests.sh', '--stack', stack),
        'run_tests.sh: no fitting Python',
        f'Stack {stack}: needed is',
        'none on PATH, nor among the versions of pyenv',
        'apt-get install python3.',
        'pyenv install 3.',
        f'bash tools/run_tests.sh --stack {stack}',
    )


def test_python_of_pyenv_is_found_behind_its_shim(machine):
    """The shim is on PATH and fails; the versions are not on PATH."""
    machine.add_command('python3.12', '#!/usr/bin/env bash\nexit 127\n')
    assert_refused(machine.install(), 'python3.12 does not run')
    pyenv = machine.repo.parent / 'pyenv'
    machine.add_python('3.12.1', pyenv / 'versions/3.12.1/bin')
    found = f'Python 3.12.1: {pyenv}/versions/3.12.1/bin/python3.12'
    assert found in machine.install(PYENV_ROOT=str(pyenv))[1]
    shutil.rmtree(machine.repo / '.venv-onedl')
    home = pyenv.rename(machine.repo.parent / '.pyenv')
    assert found.replace(str(pyenv), str(home)) in machine.install()[1]


@pytest.mark.parametrize(
    'args, variables, texts',
    [
        (
            ['--stack', 'paddle'],
            {},
            ['--stack paddle is not known. Allowed: openmmlab onedl'],
        ),
        (['--stack'], {}, ['--stack needs a name']),
        (['--stack='], {}, ['is not known']),
        (['onedl'], {}, ['onedl is not an option']),
        (
            [],
            dict(FAKE_NO_VENV='yes'),
            ['without venv or ensurepip', 'apt-get install python3.11-venv'],
        ),
        (
            [],
            dict(PYTHON='/no/such/python'),
            ['/no/such/python does not run'],
        ),
        (
            ['--stack', 'onedl'],
            dict(PYTHON='python3.11'),
            ['python3.11 is Python 3.11.7', 'Stack onedl: needed is'],
        ),
        (
            [],
            dict(MMST_DISK_GB='9999999'),
            ['not enough disk space', 'GB free, 9999999 GB needed'],
        ),
        ([], dict(MMST_DISK_GB='7G'), ['MMST_DISK_GB=7G is not']),
    ],
)
def test_what_cannot_work_is_refused(machine, args, variables, texts):
    machine.add_command('python3.11', FAKE_PYTHON)
    assert_refused(machine.install(*args, **variables), *texts)
    assert not machine.venv.exists()


def test_python_variable_is_obeyed(machine, tmp_path):
    mine = tmp_path / 'mine'
    mine.write_text(FAKE_PYTHON)
    mine.chmod(0o755)
    status, output, _ = machine.install(
        PYTHON=str(mine), FAKE_BUILT_MMCV='yes'
    )
    assert status == 0, output
    # The environment is one of Python 3.11: kept, and not used for another.
    machine.add_python('3.9.18')
    assert_refused(
        machine.install('--stack', 'openmmlab', PYTHON='python3.9'),
        f'python3.9 is Python 3.9.18, {machine.venv} has 3.11.7',
        f"rm -rf '{machine.venv}' && PYTHON=",
    )
    # Its version chooses the stack.
    machine.add_python('3.12.1')
    status, output, _ = machine.install(
        PYTHON='python3.12', FAKE_BUILT_MMCV='yes'
    )
    assert status == 0 and 'taking stack onedl' in output, output


def test_unfitting_venv_is_refused_and_kept(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.install(FAKE_BUILT_MMCV='yes')
    (machine.venv / '.mmst-installed').unlink()
    assert_refused(
        machine.install(FAKE_VERSION='3.7.16'),
        f'{machine.venv}/bin/python is Python 3.7.16',
        f"rm -rf '{machine.venv}'",
    )
    assert (machine.venv / 'bin/python').exists()


def test_no_compiler_is_refused_when_mmcv_needs_one(machine):
    machine.add_command('python3', FAKE_PYTHON)
    assert_refused(
        machine.install(CXX='my-g++ -O1'),
        'mmcv==2.1.0 has to be compiled',
        'my-g++ -O1 does not compile C++17',
        'my-g++: command not found',
        'apt-get install g++ python3.11-dev',
        'PIP_FIND_LINKS=',
        '--allow-lite',
    )
    machine.add_compiler('fatal error: Python.h', status=1)
    assert_refused(
        machine.install(), f'{machine.include}/Python.h: fatal error: Python.h'
    )


@pytest.mark.parametrize(
    'stack, version, mmcv, before',
    [
        (
            'openmmlab',
            '3.11.7',
            'mmcv==2.1.0',
            ('torch==2.1.2', 'setuptools==69.5.1'),
        ),
        pytest.param(
            'onedl',
            '3.12.1',
            'onedl-mmcv==2.3.6',
            ('torch==2.9.1', 'setuptools==80.10.2'),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mmcv_is_compiled_against_the_installed_torch(
    machine, stack, version, mmcv, before
):
    machine.add_python(version)
    machine.add_compiler()
    status, output, calls = machine.install('--stack', stack, '--allow-lite')
    assert status == 0 and 'missing' not in output, output
    assert f'{mmcv} has to be compiled' in output
    assert 'takes 2 to 5 minutes' in output
    assert 'compiled 10 of 20 files' in output
    (compile_call,) = (
        line for line in calls.splitlines() if 'pip wheel' in line
    )
    assert '--no-build-isolation' in compile_call
    # torch looks for ninja there, without which it compiles file by file.
    assert re.search(r'^path: .*/\.venv(-onedl)?/bin:', calls, re.M)
    assert f'--no-binary {mmcv.partition("==")[0]} ' in compile_call
    assert compile_call.endswith(f' {mmcv}')
    earlier = calls[: calls.index(compile_call)]
    for pin in (*before, 'ninja==', 'psutil=='):
        assert pin in earlier
    assert 'nothing to do' in machine.install('--stack', stack)[1]


@pytest.mark.parametrize(
    'maker, variables, is_taken',
    [
        ('Free Software Foundation', {}, True),
        ('Free Software Foundation', dict(FAKE_NO_HEADER='yes'), False),
        ('clang', {}, False),
    ],
)
def test_compiler_flags_of_mmcv(machine, maker, variables, is_taken):
    """The user's own stay, and no other build gets more than these."""
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler(maker)
    status, output, calls = machine.install(CPPFLAGS='-I/mine', **variables)
    assert status == 0, output
    header = machine.venv / 'mmst-wheels/torch_types.h'
    if maker != 'clang':
        assert f'precompile_header.py torch/types.h {header}' in calls
        assert 'header: -I/mine -g0 -O2\n' in calls
    include = f" -include '{header}'" if is_taken else ''
    assert f'wheel: -I/mine -g0 -O2{include}\n' in calls
    assert set(re.findall('^install: .*', calls, re.M)) == {'install: -I/mine'}


@pytest.mark.parametrize(
    'stack, version, lite, full',
    [
        ('onedl', '3.12.1', 'onedl-mmcv==2.3.6', 'onedl_mmcv-2.3.6'),
        pytest.param(
            *('openmmlab', '3.11.7', 'mmcv-lite==2.1.0', 'mmcv-2.1.0'),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_environment_without_operators_and_its_completion(
    machine, stack, version, lite, full
):
    machine.add_python(version)
    args = ('--stack', stack)
    status, output, calls = machine.install(*args, '--allow-lite')
    assert status == 0, output
    assert 'c++ does not compile C++17' in output
    missing = 'missing      detection, segmentation, pose'
    assert output.count(missing) == 1
    command = f'bash tools/install.sh --stack {stack}'
    assert f'to add them  {command}\n' in output
    info = lite.replace('-', '_').replace('==', '-') + '.dist-info'
    assert machine.packages == sorted([info, 'mmcv', 'mmcv/lite'])
    for name in ('mmdet', 'mmsegmentation', 'mmpose', 'xtcocotools'):
        assert f'{name}==' not in calls
    assert 'mmpretrain==' in calls and 'mmcv.ops' not in calls

    status, output, calls = machine.install(*args, '--allow-lite')
    assert status == 0 and 'nothing to do' in output and missing in output
    assert '-m pip' not in calls
    assert_refused(
        machine.install(*args),
        'c++ does not compile C++17',
        f'{command} --allow-lite',
    )

    machine.add_compiler()
    assert 'nothing to do' in machine.install(*args, '--allow-lite')[1]
    status, output, calls = machine.install(*args)
    assert status == 0 and missing not in output, output
    assert machine.packages == sorted(
        [f'{full}.dist-info', 'mmcv', 'mmcv/_ext.so']
    )
    assert 'mmpose==' in calls and 'mmcv.ops' in calls
    for option in ([], ['--allow-lite']):
        _, output, _ = machine.install(*args, *option)
        assert 'nothing to do' in output and missing not in output


def test_quick_start_needs_no_compiler_and_tests_do(machine):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, calls = machine.run('quickstart.sh', '--seeds', '1')
    assert status == 0 and 'missing      detection' in output, output
    assert calls.endswith('demo/compare.py --equal-cost --seeds 1\n')
    assert_refused(machine.run('run_tests.sh'), 'c++ does not compile C++17')


@pytest.mark.parametrize(
    'built, installed',
    [
        ('yes', ['mmcv-2.1.0.dist-info', 'mmcv/_ext.so']),
        ('', ['mmcv/lite', 'mmcv_lite-2.1.0.dist-info']),
    ],
)
def test_half_installed_mmcv_is_replaced(machine, built, installed):
    """pip takes one without RECORD as installed and cannot uninstall it."""
    machine.add_command('python3', FAKE_PYTHON)
    site = machine.venv / 'lib/python3.x/site-packages'
    for name in ('mmcv-2.1.0.dist-info', 'mmcv_lite-2.0.1.dist-info', 'mmcv'):
        (site / name).mkdir(parents=True)
        (site / name / 'METADATA').touch()
    status, output, _ = machine.install('--allow-lite', FAKE_BUILT_MMCV=built)
    assert status == 0, output
    assert machine.packages == ['mmcv', *installed]


def test_second_run_does_nothing_until_a_pin_changes(machine):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, _ = machine.install(FAKE_BUILT_MMCV='yes')
    assert status == 0 and 'install.sh: done' in output, output

    status, output, calls = machine.install()
    assert status == 0 and 'nothing to do' in output, output
    assert '-m pip' not in calls

    with open(machine.repo / 'requirements/stack-openmmlab.txt', 'a') as file:
        file.write('einops==0.8.1\n')
    status, output, calls = machine.install()
    assert status == 0 and 'install.sh: done' in output, output
    assert 'einops==0.8.1' in calls


@pytest.mark.parametrize(
    'failing, options',
    [
        ('torch==', dict(FAKE_BUILT_MMCV='yes')),
        ('editable', dict(FAKE_BUILT_MMCV='yes')),
        ('-lite=', {}),
    ],
)
def test_stopped_installation_is_completed(machine, failing, options):
    machine.add_command('python3', FAKE_PYTHON)
    args = [] if options else ['--allow-lite']
    status, output, _ = machine.install(
        *args, **options, FAKE_FAILS_AT=failing
    )
    assert status == 1
    command = ' '.join(['tools/install.sh --stack openmmlab', *args])
    assert f'To go on from there: bash {command}\n' in output
    status, output, _ = machine.install(*args, **options)
    assert status == 0 and 'install.sh: done' in output, output
    assert 'nothing to do' in machine.install(*args)[1]


def test_half_made_venv_is_completed(machine):
    machine.add_command('python3', FAKE_PYTHON)
    (machine.venv / 'bin').mkdir(parents=True)
    status, output, calls = machine.install(FAKE_BUILT_MMCV='yes')
    assert status == 0, output
    assert '-m venv' in calls
