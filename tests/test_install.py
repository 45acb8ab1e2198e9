"""tools/install.sh: what it refuses, and how it goes on after a stop.

Nothing is downloaded and no environment is made: the only programs on PATH are
a few shell commands and stand-ins for Python that note how they are called.
"""

import os
import re
import shutil

import pytest

from tests.environments import ROOT, run_process

#: A Python that fits each stack, its mmcv, and what that is compiled with.
STACKS = dict(
    openmmlab=('3.11.7', 'mmcv==2.1.0', 'torch==2.1.2', 'setuptools==69.5.1'),
    onedl=('3.12.1', 'onedl-mmcv==2.3.6', 'torch==2.9.1', 'setuptools==80'),
)
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
        self.venv = self.repo / '.venv'
        for name in ('tools', 'requirements', 'mmst'):
            (self.repo / name).mkdir(parents=True)
        for name in (
            *('tools/*.sh', 'requirements/*.txt', 'mmst/version.py'),
            *('setup.py', 'pyproject.toml'),
        ):
            for path in ROOT.glob(name):
                shutil.copyfile(path, self.repo / path.relative_to(ROOT))
        self.path.mkdir()
        self.include.mkdir()
        for name in COMMANDS:
            os.symlink(shutil.which(name), self.path / name)

    def add_command(self, path, script):
        path = self.path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def add_python(self, version, folder=''):
        """Add one whose version does not depend on FAKE_VERSION."""
        script = FAKE_PYTHON.replace('${FAKE_VERSION:-3.11.7}', version)
        minor = version.rpartition('.')[0]
        self.add_command(self.path / folder / f'python{minor}', script)

    def add_compiler(self, maker='Free Software Foundation', status=0):
        self.add_command(
            'c++',
            '#!/usr/bin/env bash\n[ "$*" = --version ] || cat >/dev/null\n'
            f'echo "{maker}"\nexit {status}\n',
        )

    @property
    def packages(self):
        """What is installed, without the fakes' own files."""
        folder = next(self.repo.glob('.venv*/lib/python3.x/site-packages'))
        return sorted(
            str(path.relative_to(folder))
            for path in folder.rglob('*')
            if path.name != 'RECORD'
        )

    def run(self, *args, tool='install.sh', status=0, **variables):
        """Return the output, and the calls of Python it made."""
        self.log.write_text('')
        own = dict(PATH=str(self.path), HOME=self.repo.parent)
        own.update(
            FAKE_LOG=self.log, FAKE_INCLUDE=self.include, MMST_DISK_GB='0'
        )
        command = ['bash', self.repo / 'tools' / tool, *args]
        output = run_process(*command, env=own, status=status, **variables)
        return output, self.log.read_text()

    def install(self, *args, **variables):
        """Install with a built mmcv, which needs no compiler."""
        output, calls = self.run(*args, FAKE_BUILT_MMCV='y', **variables)
        assert 'install.sh: done' in output
        return output, calls

    def refuse(self, texts, *args, **options):
        """Refused, with these texts, and before anything was installed."""
        output, calls = self.run(*args, status=1, **options)
        for text in texts:
            assert text in output, output
        assert 'pip install ' not in calls

    def is_done(self, *args):
        output, calls = self.run(*args)
        return 'nothing to do' in output and '-m pip' not in calls


@pytest.fixture
def bare(tmp_path):
    """A machine without a Python."""
    return Machine(tmp_path)


@pytest.fixture
def machine(bare):
    bare.add_command('python3.11', FAKE_PYTHON)
    return bare


#: Flags and variables, and parts of the refusal.
REFUSED = [
    (
        *('', dict(FAKE_VERSION='3.14.0')),
        '/python3.11 is Python 3.14.0',
        'Stack openmmlab: needed is Python 3.11 3.10 3.9 3.8 with',
        'PYTHON=/path/to/python3.11 bash tools/install.sh --stack openmmlab',
        'Stack onedl: needed is Python 3.12 3.13 with venv',
        'PYTHON=/path/to/python3.12 bash tools/install.sh --stack onedl',
    ),
    ('--stack paddle', {}, 'paddle is not known. Allowed: openmmlab onedl'),
    ('--stack', {}, '--stack needs a name'),
    ('--stack=', {}, 'is not known'),
    ('onedl', {}, 'onedl is not an option'),
    (
        *('', dict(FAKE_NO_VENV='yes'), 'without venv or ensurepip'),
        'apt-get install python3.11-venv',
    ),
    ('', dict(PYTHON='/no/such/python'), '/no/such/python does not run'),
    (
        *('--stack onedl', dict(PYTHON='python3.11')),
        *('python3.11 is Python 3.11.7', 'Stack onedl: needed is'),
    ),
    (
        *('', dict(MMST_DISK_GB='9999999'), 'not enough disk space'),
        'GB free, 9999999 GB needed',
    ),
    ('', dict(MMST_DISK_GB='7G'), 'MMST_DISK_GB=7G is not'),
]


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_work_is_refused(machine, case):
    flags, variables, *texts = case
    machine.refuse(texts, *flags.split(), **variables)
    assert not list(machine.repo.glob('.venv*'))


def test_stacks_side_by_side(machine):
    """Each with its pins; a built mmcv needs no compiler."""
    machine.add_python('3.12.1')
    openmmlab = ['torch==2.1.2', 'mmengine==', 'mmpretrain==', 'mmdet==3.3.0']
    openmmlab += ['mmsegmentation==', 'mmpose==']
    onedl = ['torch==2.9.1', 'onedl-mmdetection==3.5.1']
    for args, venv, mmcv, pins in (
        ('', '.venv', 'mmcv-2.1.0', openmmlab),
        ('--stack onedl', '.venv-onedl', 'onedl_mmcv-2.3.6', onedl),
    ):
        output, calls = machine.install(*args.split())
        assert f'Built mmcv: {mmcv}-cp3x' in output
        packages = machine.repo / venv / 'lib/python3.x/site-packages'
        assert set(os.listdir(packages)) == {'mmcv', f'{mmcv}.dist-info'}
        assert all(pin in calls for pin in pins)
        rest = calls[calls.index(' -r ') : calls.index(f'{mmcv}-cp3x')]
        assert 'mmcv==' not in rest and 'mmpose==' not in rest
        for name in ('mmpose', 'xtcocotools', 'panopticapi-lite'):
            (line,) = re.findall(f'^.*{name}==.*$', calls, re.M)
            assert '--no-deps --no-build-isolation' in line
    assert f'Python 3.12.1: {machine.path}/python3.12' in output
    assert machine.is_done() and machine.is_done('--stack=onedl')
    with open(machine.repo / 'requirements/stack-openmmlab.txt', 'a') as file:
        file.write('einops==0.8.1\n')
    assert 'einops==0.8.1' in machine.install()[1]


def test_stack_that_the_only_python_fits_is_taken(bare):
    """If none is named; the tests pass it on to the installation."""
    bare.add_python('3.12.1')
    texts = [
        'run_tests.sh: no fitting Python',
        'Stack openmmlab: needed is',
        'none on PATH, nor among the versions of pyenv',
        'apt-get install python3.',
        'pyenv install 3.',
        'bash tools/run_tests.sh --stack openmmlab',
    ]
    bare.refuse(texts, '--stack', 'openmmlab', tool='run_tests.sh')
    built = dict(tool='run_tests.sh', FAKE_BUILT_MMCV='yes')
    output, calls = bare.run('tests/a.py', '-k', 'b c', **built)
    told = 'run_tests.sh: taking stack onedl, which Python 3.12.1 fits'
    assert told in output and output.count('taking stack') == 1
    assert texts[-1] in output
    assert (bare.repo / '.venv-onedl').exists() and not bare.venv.exists()
    assert calls.endswith('--dist worksteal tests/a.py -k b c\n')

    bare.add_python('3.11.7')
    output, _ = bare.run(**built)
    assert 'taking stack' not in output and bare.venv.exists()


def test_python_of_pyenv_is_found_behind_its_shim(bare):
    """The shim is on PATH and fails; the versions are not on PATH."""
    bare.add_command('python3.12', '#!/usr/bin/env bash\nexit 127\n')
    bare.refuse(['python3.12 does not run'])
    pyenv = bare.repo.parent / 'pyenv'
    bare.add_python('3.12.1', pyenv / 'versions/3.12.1/bin')
    found = f'Python 3.12.1: {pyenv}/versions/3.12.1/bin/python3.12'
    assert found in bare.install(PYENV_ROOT=str(pyenv))[0]
    shutil.rmtree(bare.repo / '.venv-onedl')
    home = pyenv.rename(bare.repo.parent / '.pyenv')
    assert found.replace(str(pyenv), str(home)) in bare.install()[0]


def test_python_variable_is_obeyed(bare, tmp_path):
    bare.add_command(tmp_path / 'mine', FAKE_PYTHON)
    bare.install(PYTHON=str(tmp_path / 'mine'))
    remove = f"rm -rf '{bare.venv}'"
    texts = [f'{bare.venv}/bin/python is Python 3.7.16', remove]
    bare.refuse(texts, FAKE_VERSION='3.7.16')
    # The environment is one of Python 3.11: kept, and not used for another.
    bare.add_python('3.9.18')
    texts = [
        f'python3.9 is Python 3.9.18, {bare.venv} has 3.11.7',
        f'{remove} && PYTHON=',
    ]
    bare.refuse(texts, '--stack', 'openmmlab', PYTHON='python3.9')
    # Its version chooses the stack.
    bare.add_python('3.12.1')
    output, _ = bare.install(PYTHON='python3.12')
    assert 'taking stack onedl' in output


def test_no_compiler_is_refused_when_mmcv_needs_one(machine):
    texts = [
        'mmcv==2.1.0 has to be compiled',
        'my-g++ -O1 does not compile C++17',
        'my-g++: command not found',
        'apt-get install g++ python3.11-dev',
        *('PIP_FIND_LINKS=', '--allow-lite'),
    ]
    machine.refuse(texts, CXX='my-g++ -O1')
    machine.add_compiler('fatal error: Python.h', status=1)
    machine.refuse([f'{machine.include}/Python.h: fatal error: Python.h'])


GCC = 'Free Software Foundation'


@pytest.mark.parametrize(
    'stack, maker, is_included',
    [('openmmlab', GCC, 1), ('onedl', GCC, 0), ('openmmlab', 'clang', 0)],
)
def test_mmcv_is_compiled_against_the_installed_torch(
    bare, stack, maker, is_included
):
    """With a header of torch's, where it can be precompiled."""
    version, mmcv, *pins = STACKS[stack]
    bare.add_python(version)
    bare.add_compiler(maker)
    output, calls = bare.run(
        *('--stack', stack, '--allow-lite'),
        CPPFLAGS='-I/mine',
        FAKE_NO_HEADER='' if is_included else 'yes',
    )
    assert f'{mmcv} has to be compiled' in output
    assert 'takes 2 to 5 minutes' in output
    assert 'compiled 10 of 20 files' in output
    assert 'missing' not in output
    (compile_call,) = re.findall('^.*pip wheel.*$', calls, re.M)
    assert '--no-build-isolation' in compile_call
    # torch looks for ninja there, without which it compiles file by file.
    (wheels,) = re.findall(r'^path: (.*/\.venv(?:-onedl)?)/bin:', calls, re.M)
    assert f'--no-binary {mmcv.partition("==")[0]} ' in compile_call
    assert compile_call.endswith(f' {mmcv}')
    earlier = calls[: calls.index(compile_call)]
    for pin in (*pins, 'ninja==', 'psutil=='):
        assert pin in earlier
    # The user's own flags stay, and no other build gets more than these.
    header = f'{wheels}/mmst-wheels/torch_types.h'
    if maker != 'clang':
        assert f'precompile_header.py torch/types.h {header}' in calls
        assert 'header: -I/mine -g0 -O2\n' in calls
    include = f" -include '{header}'" if is_included else ''
    assert f'wheel: -I/mine -g0 -O2{include}\n' in calls
    assert set(re.findall('^install: .*', calls, re.M)) == {'install: -I/mine'}
    assert bare.is_done('--stack', stack)


@pytest.mark.parametrize(
    'stack, lite, full',
    [
        ('onedl', 'onedl_mmcv-2.3.6', 'onedl_mmcv-2.3.6'),
        pytest.param(
            *('openmmlab', 'mmcv_lite-2.1.0', 'mmcv-2.1.0'),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_environment_without_operators_and_its_completion(
    bare, stack, lite, full
):
    bare.add_python(STACKS[stack][0])
    args = ('--stack', stack)
    missing = 'missing      detection, segmentation, pose'
    command = f'bash tools/install.sh --stack {stack}'
    output, calls = bare.run(*args, '--allow-lite')
    assert 'c++ does not compile C++17' in output
    assert output.count(missing) == 1
    assert f'to add them  {command}\n' in output
    assert bare.packages == ['mmcv', 'mmcv/lite', f'{lite}.dist-info']
    for name in ('mmdet', 'mmsegmentation', 'mmpose', 'xtcocotools'):
        assert f'{name}==' not in calls
    assert 'mmpretrain==' in calls and 'mmcv.ops' not in calls

    assert bare.is_done(*args, '--allow-lite')
    assert missing in bare.run(*args, '--allow-lite')[0]
    texts = ['c++ does not compile C++17', f'{command} --allow-lite']
    bare.refuse(texts, *args)

    bare.add_compiler()
    assert bare.is_done(*args, '--allow-lite')
    output, calls = bare.run(*args)
    assert missing not in output
    files = ['mmcv', 'mmcv/_ext.so', f'{full}.dist-info']
    assert bare.packages == sorted(files)
    assert 'mmpose==' in calls and 'mmcv.ops' in calls
    for option in ([], ['--allow-lite']):
        assert bare.is_done(*args, *option)
        assert missing not in bare.run(*args, *option)[0]


def test_quick_start_needs_no_compiler_and_tests_do(machine):
    output, calls = machine.run('--seeds', '1', tool='quickstart.sh')
    assert 'missing      detection' in output
    assert calls.endswith('demo/compare.py --equal-cost --seeds 1\n')
    machine.refuse(['c++ does not compile C++17'], tool='run_tests.sh')


@pytest.mark.parametrize(
    'built, file, name',
    [('yes', '_ext.so', 'mmcv-2.1.0'), ('', 'lite', 'mmcv_lite-2.1.0')],
)
def test_half_made_environment_is_completed(machine, built, file, name):
    """pip takes mmcv without RECORD as installed and cannot uninstall it."""
    site = machine.venv / 'lib/python3.x/site-packages'
    for left in ('mmcv-2.1.0.dist-info', 'mmcv_lite-2.0.1.dist-info', 'mmcv'):
        (site / left).mkdir(parents=True)
        (site / left / 'METADATA').touch()
    _, calls = machine.run('--allow-lite', FAKE_BUILT_MMCV=built)
    assert '-m venv' in calls
    installed = ['mmcv', f'mmcv/{file}', f'{name}.dist-info']
    assert machine.packages == sorted(installed)


@pytest.mark.parametrize('failing', ['torch==', 'editable', '-lite='])
def test_stopped_installation_is_completed(machine, failing):
    args = ['--allow-lite'] if failing == '-lite=' else []
    built = dict(FAKE_BUILT_MMCV='' if args else 'yes')
    output, _ = machine.run(*args, **built, FAKE_FAILS_AT=failing, status=1)
    command = ' '.join(['tools/install.sh --stack openmmlab', *args])
    assert f'To go on from there: bash {command}\n' in output
    output, _ = machine.run(*args, **built)
    assert 'install.sh: done' in output and machine.is_done(*args)
