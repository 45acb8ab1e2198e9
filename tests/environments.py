"""Environments of their own, with this one's packages but for some."""

import sysconfig
import venv
from pathlib import Path
from typing import Callable


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
