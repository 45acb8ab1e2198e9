"""Processes, and environments with this one's packages but for some."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any, Callable, Optional

ROOT = Path(__file__).resolve().parents[1]


def run_process(
    *command: Any,
    cwd: Optional[Path] = None,
    env: Optional[dict] = None,
    status: int = 0,
    **variables: str,
) -> str:
    """Run a command that ends with this status, and return what it prints.

    ``variables`` are added to the environment; mmst is found in all of them.
    """
    own = dict(os.environ, PYTHONPATH=str(ROOT)) if env is None else env
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**own, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def write_echo(path: Path) -> str:
    """Write a program that prints its arguments, one a line."""
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return str(path)


def make_environment(folder: Path, leaves_out: Callable[[str], bool]) -> str:
    """Make an environment of links, and return its Python.

    ``leaves_out`` is asked about each entry of site-packages, such as mmcv
    and mmcv-2.1.0.dist-info.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob('lib/python*/site-packages')
    for entry in Path(sysconfig.get_paths()['purelib']).iterdir():
        if not leaves_out(entry.name):
            (packages / entry.name).symlink_to(entry)
    return str(folder / 'bin' / 'python')


def is_openmmlab(name: str) -> bool:
    """Whether an entry is of OpenMMLab, of OneDL or of mmst itself."""
    return name.startswith(('mm', 'onedl', '__editable__'))
