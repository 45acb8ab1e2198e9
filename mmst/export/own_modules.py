"""Find modules of a user's own project, which are not installed."""

import ast
import json
import sys
import sysconfig
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Iterator, List, Optional, Tuple
from urllib.parse import urlparse
from urllib.request import url2pathname

from mmst.launch.toolbox import TOOLBOXES

#: Checkouts that need no installation, and a temporary file of torch.
_STOCK = {'mmcv', 'mmengine', '_remote_module_non_scriptable', *TOOLBOXES}
_OURS = 'mmst'


def is_own(module: str) -> bool:
    """Return whether a module is mmst's or the user's own.

    Args:
        module: Its full name; it has been imported.
    """
    top = module.partition('.')[0]
    if top == _OURS:
        return True
    if top in _STOCK or top in sys.builtin_module_names:
        return False
    file = _find_file(top)
    if file is None:
        return False
    folders = _list_python_folders() + [
        root for name, root in _list_installed() if name == top
    ]
    return not any(folder in file.parents for folder in folders)


def list_own() -> List[str]:
    """List the imported modules of the user's own, without submodules."""
    tops = {name.partition('.')[0] for name in list(sys.modules)}
    return sorted(top for top in tops if is_own(top))


def list_own_imports(source: str) -> List[str]:
    """List what a module's source imports that is not installed.

    Args:
        source: Source of a module that has been imported.
    """
    return sorted({name for name in _iter_imports(source) if is_own(name)})


def _iter_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import is from the module's own project.
            yield _OURS if node.level else str(node.module)


def _find_file(top: str) -> Optional[Path]:
    module = sys.modules.get(top)
    paths = list(getattr(module, '__path__', ()))
    file = getattr(module, '__file__', None) or (paths[0] if paths else None)
    return None if file is None else Path(file).resolve()


@lru_cache(maxsize=None)
def _list_python_folders() -> List[Path]:
    """List the folders of the standard library and of pip's packages."""
    paths = sysconfig.get_paths()
    keys = ('stdlib', 'platstdlib', 'purelib', 'platlib')
    return [Path(paths[key]).resolve() for key in keys]


@lru_cache(maxsize=None)
def _list_installed() -> List[Tuple[str, Path]]:
    """List installed packages with their folders, editable ones included."""
    found = []
    for distribution in distributions():
        url = json.loads(distribution.read_text('direct_url.json') or '{}')
        roots = {Path(str(distribution.locate_file('')))}
        if 'dir_info' in url:
            roots.add(Path(url2pathname(urlparse(url['url']).path)))
        names = (distribution.read_text('top_level.txt') or '').split()
        found += [(n, root.resolve()) for n in names for root in roots]
    return found
