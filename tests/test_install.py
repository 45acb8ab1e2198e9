"""tools/install.sh: what it refuses, and how it goes on after a stop.

Nothing is downloaded and no environment is made: the only programs on PATH are
a few shell commands and stand-ins for Python that note how they are called.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    'bash',
    'awk',
    'basename',
    'cat',
    'chmod',
    'cksum',
    'cp',
    'cut',
    'dirname',
    'env',
    'getconf',
    'grep',
    'ls',
    'mkdir',
    'mv',
    'rm',
    'tail',
    'tee',
    'touch',
)

pytestmark = pytest.mark.skipif(
    shutil.which('bash') is None, reason='install.sh is a bash script'
)

# Answers as python, `python -m venv` and `python -m pip` do. FAKE_ variables
# say how: which version, whether a built mmcv is found, which call fails, what
# the compiler says.
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
    if [ -n "${FAKE_NO_HEADER:-}" ]; then echo "disk full"; exit 1; fi
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
    printf '  [10/20] c++ -c some_file.cpp\n%s\n' "${FAKE_WARNING:-}"
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
"- "*) exec "$REAL_PYTHON" "$@" ;;
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

    def add_compiler(self, macros='12 __clang__'):
        """One that knows Python.h; GCC if it has no macro __clang__."""
        self.add_command(
            'c++',
            '#!/usr/bin/env bash\ncat >/dev/null\n'
            f'case "$*" in *-E*) echo "{macros}" ;; esac\n',
        )
        (self.include / 'Python.h').touch()

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
                'REAL_PYTHON': sys.executable,
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


@pytest.mark.parametrize('version', ['3.14.0', '3.6.15', '2.7.18', '3.7.16'])
def test_unfitting_python_is_refused(machine, version):
    machine.add_command('python3', FAKE_PYTHON)
    result = machine.install(FAKE_VERSION=version)
    assert_refused(
        result,
        f'{machine.path}/python3 is Python {version}',
        'Stack openmmlab: needed is Python 3.11 3.10 3.9 3.8 with venv',
        'PYTHON=/path/to/python3.11 bash tools/install.sh --stack openmmlab',
        'Stack onedl: needed is Python 3.12 3.13 with venv',
        'PYTHON=/path/to/python3.12 bash tools/install.sh --stack onedl',
    )
    assert not list(machine.repo.glob('.venv*'))


def test_no_python_is_refused(machine):
    assert_refused(machine.install(), 'Found on PATH', 'none at all')


@pytest.mark.parametrize('option', [['--stack', 'onedl'], ['--stack=onedl']])
def test_stacks_side_by_side(machine, option):
    machine.add_python('3.11.7')
    machine.add_python('3.12.1')
    for args in ([], option):
        status, output, _ = machine.install(*args, FAKE_BUILT_MMCV='yes')
        assert status == 0, output
    assert f'Python 3.12.1: {machine.path}/python3.12' in output
    for venv, wanted in (
        ('.venv', ['mmcv-2.1.0.dist-info']),
        ('.venv-onedl', ['onedl_mmcv-2.3.6.dist-info']),
    ):
        packages = machine.repo / venv / 'lib/python3.x/site-packages'
        assert sorted(os.listdir(packages)) == sorted(['mmcv', *wanted])
    for args in ([], option):
        assert 'nothing to do' in machine.install(*args)[1]


def test_pins_of_the_chosen_stack_are_installed(machine):
    machine.add_python('3.12.1')
    _, _, calls = machine.install('--stack', 'onedl', FAKE_BUILT_MMCV='yes')
    for pin in ('torch==2.9.1', 'onedl-mmdetection==3.5.1', 'mmpose==1.3.2'):
        assert pin in calls
    assert 'torch==2.1.2' not in calls
    rest = calls[calls.index(' -r ') : calls.index('onedl_mmcv-2.3.6')]
    assert 'onedl-mmcv' not in rest and 'mmpose' not in rest


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


def test_named_stack_without_its_python_is_refused(machine):
    for version, stack in (('3.12.1', 'openmmlab'), ('3.11.7', 'onedl')):
        machine = Machine(machine.repo.parent / stack)
        machine.add_python(version)
        assert_refused(
            machine.run('run_tests.sh', '--stack', stack),
            'run_tests.sh: no fitting Python',
            f'Stack {stack}: needed is',
            'apt-get install python3.',
            'pyenv install 3.',
            f'bash tools/run_tests.sh --stack {stack}',
        )


def test_python_of_pyenv_is_found_behind_its_shim(machine):
    """The shim is on PATH and fails; the versions are not on PATH."""
    machine.add_command('python3.12', '#!/usr/bin/env bash\nexit 127\n')
    pyenv = machine.repo.parent / 'pyenv'
    machine.add_python('3.12.1', pyenv / 'versions/3.12.1/bin')
    found = f'Python 3.12.1: {pyenv}/versions/3.12.1/bin/python3.12'
    assert found in machine.install(PYENV_ROOT=str(pyenv))[1]
    shutil.rmtree(machine.repo / '.venv-onedl')
    home = pyenv.rename(machine.repo.parent / '.pyenv')
    assert found.replace(str(pyenv), str(home)) in machine.install()[1]


def test_unknown_stack_and_option_are_refused(machine):
    machine.add_python('3.11.7')
    assert_refused(
        machine.install('--stack', 'paddle'),
        '--stack paddle is not known. Allowed: openmmlab onedl',
    )
    assert_refused(machine.install('--stack'), '--stack needs a name')
    assert_refused(machine.install('--stack='), 'is not known')
    assert_refused(machine.install('onedl'), 'onedl is not an option')


def test_python_that_does_not_run_is_passed_over(machine):
    """A pyenv shim is on PATH and fails when called."""
    machine.add_command('python3.11', '#!/usr/bin/env bash\nexit 127\n')
    assert_refused(machine.install(), 'python3.11 does not run')
    machine.add_command('python3.9', FAKE_PYTHON)
    status, output, _ = machine.install(
        FAKE_VERSION='3.9.18', FAKE_BUILT_MMCV='yes'
    )
    assert status == 0, output
    assert f'Python 3.9.18: {machine.path}/python3.9' in output


def test_python_without_venv_is_refused(machine):
    machine.add_command('python3', FAKE_PYTHON)
    assert_refused(
        machine.install(FAKE_NO_VENV='yes'),
        'without venv or ensurepip',
        'apt-get install python3.11-venv',
    )


def test_python_variable_is_obeyed(machine, tmp_path):
    machine.add_command('python3.11', FAKE_PYTHON)
    assert_refused(
        machine.install(PYTHON='/no/such/python'),
        'PYTHON=/no/such/python does not run',
    )
    assert_refused(
        machine.install('--stack', 'onedl', PYTHON='python3.11'),
        'Stack onedl: PYTHON=python3.11 is Python 3.11.7',
    )
    machine.add_command('python3.11', '#!/usr/bin/env bash\nexit 127\n')
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
        machine.install(PYTHON='python3.9'),
        'PYTHON=python3.9 (3.9.18) does not go with',
        f"rm -rf '{machine.venv}' && PYTHON='python3.9' bash",
    )
    # Its version chooses the stack.
    machine.add_python('3.12.1')
    status, output, _ = machine.install(
        PYTHON='python3.12', FAKE_BUILT_MMCV='yes'
    )
    assert status == 0 and 'taking stack onedl' in output, output


def test_full_disk_is_refused(machine):
    machine.add_command('python3', FAKE_PYTHON)
    assert_refused(
        machine.install(MMST_DISK_GB='9999999'),
        'not enough disk space',
        str(machine.repo),
        'GB free, ',
        '9999999 GB needed',
    )
    assert not machine.venv.exists()
    assert_refused(
        machine.install(MMST_DISK_GB='7G'), 'MMST_DISK_GB=7G is not'
    )


def test_no_compiler_is_refused_when_mmcv_needs_one(machine):
    machine.add_command('python3', FAKE_PYTHON)
    assert_refused(
        machine.install(),
        'mmcv==2.1.0 has to be compiled',
        'there is no C++ compiler (c++)',
        'apt-get install g++',
        'PIP_FIND_LINKS=',
    )
    assert_refused(machine.install(CXX='my-g++ -O1'), '(my-g++)')


def test_no_headers_are_refused_when_mmcv_needs_them(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler()
    (machine.include / 'Python.h').unlink()
    assert_refused(
        machine.install(),
        f'{machine.include}/Python.h is not there',
        'apt-get install python3.11-dev',
    )


def test_compiler_that_fails_is_refused(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_command(
        'c++',
        '#!/usr/bin/env bash\ncat >/dev/null\n'
        'case "$*" in *-std=c++17*) exit 1 ;; esac\n',
    )
    (machine.include / 'Python.h').touch()
    assert_refused(machine.install(), 'c++ does not compile C++17')


def test_built_mmcv_needs_no_compiler(machine):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, calls = machine.install(FAKE_BUILT_MMCV='yes')
    assert status == 0, output
    assert 'Built mmcv: mmcv-2.1.0-cp3x' in output
    assert 'pip wheel' not in calls


@pytest.mark.parametrize(
    'stack, version, mmcv, before',
    [
        (
            'openmmlab',
            '3.11.7',
            'mmcv==2.1.0',
            ('torch==2.1.2', 'setuptools==69.5.1'),
        ),
        (
            'onedl',
            '3.12.1',
            'onedl-mmcv==2.3.6',
            ('torch==2.9.1', 'setuptools==80.10.2'),
        ),
    ],
)
def test_mmcv_is_compiled_against_the_installed_torch(
    machine, stack, version, mmcv, before
):
    machine.add_python(version)
    machine.add_compiler()
    status, output, calls = machine.install('--stack', stack)
    assert status == 0, output
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


def test_compiler_flags_of_mmcv(machine):
    """The user's own stay, and no other build gets more than these."""
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler()
    status, output, calls = machine.install(CPPFLAGS='-I/mine')
    assert status == 0 and 'longer' not in output, output
    header = machine.venv / 'mmst-wheels/torch_types.h'
    assert f'precompile_header.py torch/types.h {header}' in calls
    assert 'header: -I/mine -g0 -O2\n' in calls
    include = f"-Winvalid-pch -include '{header}'"
    assert f'wheel: -I/mine -g0 -O2 {include}\n' in calls
    assert set(re.findall('^install: .*', calls, re.M)) == {'install: -I/mine'}


def test_compiler_that_takes_no_precompiled_header(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler(macros='4 1')
    status, output, calls = machine.install()
    assert status == 0, output
    assert 'It takes longer with c++, as only with GCC' in output
    assert 'precompile_header.py' not in calls
    assert 'wheel:  -g0 -O2\n' in calls


def test_header_that_is_not_precompiled(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler()
    status, output, calls = machine.install(FAKE_NO_HEADER='yes')
    assert status == 0, output
    assert "It takes longer, as torch's headers were not" in output
    assert 'disk full' in output
    assert 'wheel:  -g0 -O2\n' in calls


def test_precompiled_header_that_is_not_taken(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler()
    reason = 'cc1plus: warning: not used because of it [-Winvalid-pch]'
    status, output, _ = machine.install(
        FAKE_WARNING=f'{reason}\n#warning "precompiled a.h is not used"'
    )
    assert status == 0, output
    assert 'It took longer than it should' in output and reason in output


@pytest.mark.parametrize(
    'stack, version, lite, full',
    [
        ('openmmlab', '3.11.7', 'mmcv-lite==2.1.0', 'mmcv-2.1.0'),
        ('onedl', '3.12.1', 'onedl-mmcv==2.3.6', 'onedl_mmcv-2.3.6'),
    ],
)
def test_environment_without_operators_and_its_completion(
    machine, stack, version, lite, full
):
    machine.add_python(version)
    args = ('--stack', stack)
    status, output, calls = machine.install(*args, '--allow-lite')
    assert status == 0, output
    assert 'there is no C++ compiler (c++)' in output
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
        'there is no C++ compiler (c++)',
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


def test_compiler_is_used_where_one_is(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.add_compiler()
    status, output, _ = machine.install('--allow-lite')
    assert status == 0 and 'missing' not in output, output
    assert 'mmcv/_ext.so' in machine.packages


def test_stopped_lite_installation_goes_on_as_such(machine):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, _ = machine.install('--allow-lite', FAKE_FAILS_AT='-lite=')
    assert status == 1
    command = 'bash tools/install.sh --stack openmmlab --allow-lite'
    assert f'To go on from there: {command}\n' in output
    assert machine.install('--allow-lite')[0] == 0


def test_quick_start_needs_no_compiler_and_tests_do(machine):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, calls = machine.run('quickstart.sh', '--seeds', '1')
    assert status == 0 and 'missing      detection' in output, output
    assert calls.endswith('demo/classification.py --equal-cost --seeds 1\n')
    assert_refused(
        machine.run('run_tests.sh'), 'there is no C++ compiler (c++)'
    )


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


def test_mmpose_is_installed_without_its_dependencies(machine):
    machine.add_command('python3', FAKE_PYTHON)
    _, _, calls = machine.install(FAKE_BUILT_MMCV='yes')
    for name in ('mmpose', 'xtcocotools', 'panopticapi-lite'):
        (line,) = (line for line in calls.splitlines() if f'{name}==' in line)
        assert '--no-deps --no-build-isolation' in line


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
    'failing', ['torch==', ' -r ', 'mmpose==', 'editable']
)
def test_stopped_installation_is_completed(machine, failing):
    machine.add_command('python3', FAKE_PYTHON)
    status, output, _ = machine.install(
        FAKE_BUILT_MMCV='yes', FAKE_FAILS_AT=failing
    )
    assert status == 1
    assert 'To go on from there: bash tools/install.sh' in output
    status, output, _ = machine.install(FAKE_BUILT_MMCV='yes')
    assert status == 0 and 'install.sh: done' in output, output
    assert 'nothing to do' in machine.install()[1]


def test_half_made_venv_is_completed(machine):
    machine.add_command('python3', FAKE_PYTHON)
    (machine.venv / 'bin').mkdir(parents=True)
    status, output, calls = machine.install(FAKE_BUILT_MMCV='yes')
    assert status == 0, output
    assert '-m venv' in calls


def test_unfitting_venv_is_refused_and_kept(machine):
    machine.add_command('python3', FAKE_PYTHON)
    machine.install(FAKE_BUILT_MMCV='yes')
    (machine.venv / '.mmst-installed').unlink()
    assert_refused(
        machine.install(FAKE_VERSION='3.7.16'),
        f'{machine.venv} is there, but its Python is Python 3.7.16',
        f"rm -rf '{machine.venv}'",
    )
    assert (machine.venv / 'bin/python').exists()
