"""Data and options that make the demo's configs train for a second."""

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_alone, write_images


@pytest.fixture(scope='module')
def few_digits(tmp_path_factory) -> Path:
    """Images of two classes, 16 to train on and 80 to validate."""
    data = tmp_path_factory.mktemp('few_digits')
    names = [
        f'{split}/{label}/{index}.png'
        for split, number in (('train', 8), ('val', 40))
        for label in '01'
        for index in range(number)
    ]
    write_images(data, names)
    return data


@pytest.fixture
def commands(load_tool, monkeypatch) -> list:
    """Run what the demo starts in this process, and list it.

    Starting Python anew would take most of the time.
    """
    commands = []

    def run_here(name, command, log) -> float:
        commands.append(command[1])
        run_alone(load_tool(command[1][: -len('.py')]).main)(command[2:])
        return 1.5

    monkeypatch.chdir(ROOT)
    load_tool('demo/compare')
    monkeypatch.setattr(sys.modules['run_logged'], 'run_logged', run_here)
    return commands


def files_of(folder: Path) -> dict:
    """Read all files of a folder, by their paths."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
