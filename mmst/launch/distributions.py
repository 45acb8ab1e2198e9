"""The distribution names of the OpenMMLab packages.

The OneDL packages have the same import names and other distribution names.
What is installed is looked up by import name; the names here are for the
commands that a user is told to type.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

#: import name -> name for pip, where they differ
OPENMMLAB = {'mmseg': 'mmsegmentation'}
TOOLBOXES = ('mmpretrain', 'mmdet', 'mmseg', 'mmpose')
ONEDL = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    # Built in isolation, without torch, it leaves its operators out.
    'mmcv-lite': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
}


def is_distributed(name: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def has_onedl() -> bool:
    """Return whether the installed MMEngine is OneDL's."""
    return is_distributed(ONEDL['mmengine'])


def get_distribution_name(module: str) -> str:
    """Return the name that pip has for ``module`` in the installed family."""
    return (ONEDL if has_onedl() else OPENMMLAB).get(module, module)


def find_bases_by_import_name() -> None:
    """Make mmengine find ``<toolbox>::`` bases in the installed packages.

    It looks for a distribution, such as mmsegmentation for ``mmseg::``, and
    then for a module of that name. OneDL's distributions have other names, so
    a missing one is replaced by the module's name. If none is missing,
    nothing is changed, and mmengine is not imported.
    """
    renamed = [
        scope
        for scope in TOOLBOXES
        if not is_distributed(OPENMMLAB.get(scope, scope)) and find_spec(scope)
    ]
    if not renamed:
        return
    try:
        from mmengine.config.utils import MODULE2PACKAGE
    except ImportError:
        return  # modules that need mmengine report what is wrong
    MODULE2PACKAGE.update((scope, scope) for scope in renamed)
