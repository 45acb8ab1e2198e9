"""Packages that mmst works with: ranges, names in both stacks, what to type.

OneDL's packages have the import names of OpenMMLab's, but others for pip. So
packages are looked up by import name, and by the version that they give
themselves.
"""

import re
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import List, Optional

#: The range of each package, as pip spells it, in the order of import:
#: mmpretrain asserts a range of mmcv, about which our message comes first.
#: Keep OpenMMLab's equal to those in requirements/mminstall.txt.
RANGES = {
    'torch': '>=2.1.0',
    'mmengine': '>=0.10.0,<1.0.0',
    'mmcv': '>=2.1.0,<2.4.0',
    'mmpretrain': '>=1.2.0,<2.0.0',
}
#: The toolboxes: import name -> name of the project, what to type.
TOOLBOXES = {
    'mmpretrain': ('mmpretrain', 'pip install mmpretrain'),
    'mmdet': ('mmdetection', "pip install 'mmst[det]'"),
    'mmseg': ('mmsegmentation', "pip install 'mmst[seg]'"),
    # Without dependencies: one of them no longer builds and is not needed.
    'mmpose': (
        'mmpose',
        "pip install 'mmst[det,pose]' && pip install --no-deps mmpose",
    ),
}
#: Names of OneDL's packages for pip.
ONEDL = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    # Built in isolation, without torch, it leaves its operators out.
    'mmcv-lite': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
}


def has_onedl() -> bool:
    """Return whether the installed MMEngine is OneDL's."""
    try:
        version(ONEDL['mmengine'])
    except PackageNotFoundError:
        return False
    return True


def get_install_command(toolbox: str) -> str:
    """Return the command that installs one of :data:`TOOLBOXES`."""
    if has_onedl() and toolbox in ONEDL:  # mmst's extras name OpenMMLab's
        return f'pip install {ONEDL[toolbox]}'
    return TOOLBOXES[toolbox][1]


def check_packages(*names: str) -> None:
    """Import packages of :data:`RANGES` and check their versions.

    Raises:
        ImportError: If one is missing, fails to import, or has a version
            outside of its range. The message says which, what was found, what
            is allowed and what to type.
    """
    for name in names:
        problem = _find_problem(name)
        if problem is not None:
            raise ImportError(
                f'mmst needs {name}{RANGES[name]}, but {problem}.\n'
                f'  allowed: {name}{RANGES[name]}\n'
                f'  type:    {_spell_command(name)}\n'
                'Or run "bash tools/install.sh" in the mmst repository, which '
                'makes an environment with versions that are tested together.'
            )


def _find_problem(name: str) -> Optional[str]:
    try:
        module = import_module(name)
    except Exception as error:  # toolboxes assert their own ranges
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return f'no {name} is installed for {sys.executable}'
        return f'{name} cannot be imported ({type(error).__name__}: {error})'
    # None for a folder of that name on sys.path.
    found = getattr(module, '__version__', None)
    lower, *upper = map(_read_release, RANGES[name].split(','))
    release = _read_release(str(found))
    if lower <= release and not any(release >= end for end in upper):
        return None
    where = module.__file__ or list(module.__path__)
    return f'{name} {found or "without a version"} was found at {where}'


def _read_release(text: str) -> List[int]:
    """Read the first three numbers: of 2.1.2+cpu 2, 1, 2; of 2.1 2, 1, 0."""
    numbers = re.findall(r'\d+', text.partition('+')[0])
    return [*map(int, numbers), 0, 0, 0][:3]


def _spell_command(name: str) -> str:
    def spell(package: str) -> str:
        pip_name = ONEDL.get(package, package) if has_onedl() else package
        return f'"{pip_name}{RANGES[name]}"'

    if name != 'mmcv':
        return f'pip install {spell(name)}'
    # In isolation, without torch, a build leaves the operators out silently;
    # it must not be cached as such.
    return (
        f'pip install --no-build-isolation {spell(name)}\n'
        '  or, for classification alone, with nothing to compile: pip install '
        f'--no-cache-dir {spell("mmcv-lite")}'
    )
