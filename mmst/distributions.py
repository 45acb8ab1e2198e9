"""The names under which the OpenMMLab packages are distributed.

The OneDL packages continue them under the same import names and other
distribution names. What is installed is looked up by import name; the names
here are for what a user is told to type.
"""

from importlib.metadata import PackageNotFoundError, version

#: import name -> name for pip, where they differ
OPENMMLAB = {'mmseg': 'mmsegmentation'}
ONEDL = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
}


def is_distributed(name: str) -> bool:
    """Tell whether a distribution is installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def has_onedl() -> bool:
    """Tell whether MMEngine, on which all build, is OneDL's."""
    return is_distributed(ONEDL['mmengine'])


def get_distribution_name(module: str) -> str:
    """Return what pip calls ``module`` in the family that is installed."""
    return (ONEDL if has_onedl() else OPENMMLAB).get(module, module)
