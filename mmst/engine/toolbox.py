# Copyright (c) mmst contributors. Licensed under the Apache License 2.0.
"""The OpenMMLab toolbox that a config is written for."""

from importlib import import_module
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

#: default_scope (also the import name) -> (project, what to type)
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


def read_config(path: str) -> Config:
    """Read a config file; a base of a missing toolbox says what to install.

    Raises:
        ModuleNotFoundError: If a ``<toolbox>::`` base or an import of the
            config needs what is not installed.
    """
    try:
        return Config.fromfile(path)
    except ModuleNotFoundError as error:
        for scope, (project, install) in TOOLBOXES.items():
            package = MODULE2PACKAGE.get(scope, scope)
            if str(error).startswith(f'{package} is not installed'):
                raise ModuleNotFoundError(
                    f"The '{scope}::' base of {path} needs {project}: "
                    + install
                ) from error
        raise


def check_toolbox(cfg: Config) -> None:
    """Import the toolbox that ``default_scope`` names.

    mmengine imports it too, when it first builds something; but there a
    missing toolbox is one warning, followed by an error about something else.

    Raises:
        ValueError: If ``default_scope`` names no toolbox that is known or
            installed.
        ModuleNotFoundError: If it names one that is not installed, or that
            itself needs another (mmpose's models need mmdet).
    """
    scope = cfg.get('default_scope')
    if scope is None:
        return
    if find_spec(scope) is None:
        if scope in TOOLBOXES:
            project, install = TOOLBOXES[scope]
            raise ModuleNotFoundError(
                f"default_scope = '{scope}' needs {project}: {install}"
            )
        raise ValueError(
            f"default_scope = '{scope}' is not an installed package; set it "
            f'in the config to one of {", ".join(TOOLBOXES)}'
        )
    try:
        import_module(f'{scope}.models')
    except ModuleNotFoundError as error:
        if error.name not in TOOLBOXES:
            raise
        project, install = TOOLBOXES[error.name]
        raise ModuleNotFoundError(
            f'{scope} itself needs {project}: {install}'
        ) from error
