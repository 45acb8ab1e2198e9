"""Every command of every page is one that its tool takes.

The cheap ones run for real in ``test_first_hour.py`` and in ``tests/tools``.
Here all of them are read: the script is there, its own parser takes the
arguments, the config loads, and has what the options change. Launch scripts
run, with stand-ins for Python and for slurm.
"""

import os
import re
import runpy
import shlex
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import List

import pytest
import yaml
from mmengine.config import Config

from tests.configs.test_downstream_configs import ST
from tests.conftest import ROOT
from tests.environments import run_process, write_echo

from .blocks import BLOCKS, PAGES, commands_of

PAGE_OF = {
    command: page.relative_to(ROOT)
    for page in reversed(PAGES)
    for command in commands_of(page)
}
#: Words that a reader replaces, and files that an earlier command has made.
OPEN = re.compile(r'[A-Z_]+(\.pth|/.+)?|work_dirs/.+')
#: Stands in for a config that the reader names.
ANY = 'configs/st/resnet50_ct_in1k.py'


class Parsed(Exception):
    """Carries a tool's parsed arguments out of it, before it does anything."""


@pytest.fixture
def parse(monkeypatch):
    """Start a tool as a command line would; give what its parser says."""
    real = ArgumentParser.parse_args

    def stop(parser: ArgumentParser, args=None, namespace=None) -> Namespace:
        raise Parsed(real(parser, args, namespace))

    def parse(script: str, args: List[str]) -> Namespace:
        path = ROOT / script
        assert path.is_file(), f'{script} is not there'
        with monkeypatch.context() as patch:
            patch.setattr(ArgumentParser, 'parse_args', stop)
            patch.setattr('sys.argv', [str(path), *args])
            patch.syspath_prepend(str(path.parent))
            with pytest.raises(Parsed) as parsed:
                runpy.run_path(str(path), run_name='__main__')
        return parsed.value.args[0]

    return parse


@pytest.fixture
def launch(tmp_path):
    """Run a launch script; give the tool and the arguments it would start."""
    python, _ = (write_echo(tmp_path / name) for name in ('python', 'srun'))

    def launch(command: str) -> List[str]:
        words = run_process(
            *('bash', '-c', command),
            cwd=ROOT,
            PYTHON=python,
            PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
            PORT='29500',  # else Python is asked for a free one
        ).splitlines()
        start = next(i for i, word in enumerate(words) if word.endswith('.py'))
        script = Path(words[start]).relative_to(ROOT)
        return [str(script), *words[start + 1 :]]

    return launch


@pytest.fixture
def check_configs(tmp_path):
    """Check that configs are there and have what ``--cfg-options`` changes."""
    # A folder like the repository's root, into which docs/ say to copy.
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'configs').symlink_to(ROOT / 'configs')
    for path in (ROOT / 'docs/how_to').glob('my_*.py'):
        shutil.copy(path, root)

    def check(args: Namespace) -> None:
        options = getattr(args, 'cfg_options', None) or {}
        names = [run[1] for run in getattr(args, 'run', None) or []]
        if hasattr(args, 'config'):
            names.append(args.config)
        for name in names:
            is_open = OPEN.fullmatch(name)
            assert is_open or (root / name).is_file(), f'{name} is not there'
            if options or not is_open:
                check_options(root / (ANY if is_open else name), options)

    return check


def check_options(path: Path, options: dict) -> None:
    cfg = Config.fromfile(path)
    for key in options:
        value = cfg
        for part in key.split('.')[:-1]:
            if part == 'init_cfg' and part not in value:
                break  # the option that adds it
            value = value[int(part) if part.isdigit() else part]


def check_pip(words: List[str]) -> None:
    extras = (ROOT / 'setup.py').read_text()
    for extra in re.findall(r'\.\[(\w+)\]', ' '.join(words)):
        assert f"'{extra}'" in extras
    for flag, name in zip(words, words[1:]):
        if flag == '-r':
            assert (ROOT / name).is_file()


@pytest.mark.parametrize('command', sorted(PAGE_OF))
def test_command(command, parse, launch, check_configs):
    words = shlex.split(command, comments=True)
    while re.match(r'[A-Z_]+=', words[0]):
        check_variable(words.pop(0).partition('=')[0])
    program, args = words[0], words[1:]
    if program == 'python':
        check_configs(parse(args[0], args[1:]))
    elif program.startswith('tools/'):
        script, *args = launch(command)
        check_configs(parse(script, args))
    elif program == 'bash':
        run_process('bash', '-n', ROOT / args[0])
    elif program == 'pip':
        check_pip(args)
    elif program == 'cp':
        assert (ROOT / args[0]).is_file()
    else:
        assert command in KNOWN, f'{PAGE_OF[command]}: no check for it'


KNOWN = ('source .venv/bin/activate', 'git clone ADDRESS mmst && cd mmst')


def check_variable(name: str) -> None:
    """An environment variable is oneDNN's, or one that the scripts read."""
    scripts = (ROOT / 'tools').glob('*.sh')
    assert name == 'ONEDNN_PRIMITIVE_CACHE_CAPACITY' or any(
        name in path.read_text() for path in scripts
    ), name


def test_blocks_are_of_kinds_that_are_checked():
    """Python in test_python.py, directives by Sphinx; text shows a folder."""
    for block in BLOCKS:
        assert block.language in ('python', 'shell', 'text') or re.fullmatch(
            r'\{(toctree|eval-rst)\}', block.language
        ), f'{block.page}: no check for {block.language!r}'


def test_backbone_from_an_st_checkpoint():
    """The options are those of the config that loads every weight."""
    commands = [c for c in PAGE_OF if 'init_cfg.checkpoint=CKPT' in c]
    assert commands
    for command in commands:
        options = command.partition('--cfg-options ')[2].split()
        assert options == [
            f'model.backbone.init_cfg.{key}={value}'
            for key, value in dict(ST, checkpoint='CKPT').items()
        ]


def test_workflow_runs_what_ci_runs():
    path = ROOT / '.github/workflows/ci.yml'
    jobs = yaml.safe_load(path.read_text())['jobs'].values()
    steps = [step for job in jobs for step in job['steps']]
    assert {step['run'] for step in steps if 'run' in step} == set(
        re.findall('^bash .+', (ROOT / '.ci/run').read_text(), re.MULTILINE)
    )
