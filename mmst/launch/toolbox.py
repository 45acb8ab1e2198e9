"""The OpenMMLab toolbox that a config is written for."""

from importlib import import_module
from importlib.util import find_spec
from typing import Optional

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import init_default_scope

from .distributions import ONEDL, has_onedl

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


def get_install_command(scope: str) -> str:
    """Return the command that installs the toolbox of a ``default_scope``."""
    if has_onedl() and scope in ONEDL:  # mmst's extras name OpenMMLab's
        return f'pip install {ONEDL[scope]}'
    return TOOLBOXES[scope][1]


def _name_project_and_command(scope: str) -> str:
    """Write the end of a message about a missing toolbox."""
    return f'{TOOLBOXES[scope][0]}: {get_install_command(scope)}'


def read_config(path: str) -> Config:
    """Read a config file; say how to install a missing toolbox.

    Raises:
        ModuleNotFoundError: If a ``<toolbox>::`` base or an import of the
            config needs a package that is not installed.
    """
    try:
        cfg = Config.fromfile(path)
        _drop_function_scopes(cfg)
        return cfg
    except ModuleNotFoundError as error:
        for scope in TOOLBOXES:
            package = MODULE2PACKAGE[scope]
            if str(error).startswith(f'{package} is not installed'):
                raise ModuleNotFoundError(
                    f"The '{scope}::' base of {path} needs "
                    + _name_project_and_command(scope)
                ) from error
        raise


def _drop_function_scopes(cfg: Config) -> None:
    """Remove the toolbox's scope from data loaders' functions.

    MMEngine adds it to parts of a ``<toolbox>::`` base, and would pass it to
    these functions, which have no such argument.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for key in ('collate_fn', 'worker_init_fn'):
            function = (cfg.get(name) or {}).get(key)
            if isinstance(function, dict):
                function.pop('_scope_', None)


def find_toolbox(cfg: Config) -> Optional[str]:
    """Return the import name of the toolbox that a config is written for.

    This is ``default_scope``; in new-style configs, which have none, the
    package of the model's class.
    """
    scope: Optional[str] = cfg.get('default_scope')
    kind = (cfg.get('model') or {}).get('type')
    if scope is None and kind is not None:
        name = kind.__module__ if isinstance(kind, type) else str(kind)
        scope = name.split('.')[0]
    return scope if scope in TOOLBOXES else None


def enter_scope(cfg: Config) -> None:
    """Build from now on with the registries of a config's toolbox."""
    scope = cfg.get('default_scope') or find_toolbox(cfg)
    init_default_scope(scope or 'mmengine')


def check_toolbox(cfg: Config) -> None:
    """Import the toolbox that ``default_scope`` names.

    mmengine imports it when it first builds something, but only warns if it is
    missing, and then fails with an unrelated error.

    Raises:
        ValueError: If ``default_scope`` is no known or installed toolbox.
        ModuleNotFoundError: If the toolbox is not installed, or needs another
            one that is not (mmpose's models need mmdet).
    """
    scope = cfg.get('default_scope')
    if scope is None:
        return
    if find_spec(scope) is None:
        if scope in TOOLBOXES:
            raise ModuleNotFoundError(
                f"default_scope = '{scope}' needs "
                + _name_project_and_command(scope)
            )
        raise ValueError(
            f"default_scope = '{scope}' is not an installed package: set it "
            f'in the config to one of {", ".join(TOOLBOXES)}'
        )
    try:
        import_module(f'{scope}.models')
    except ModuleNotFoundError as error:
        if error.name not in TOOLBOXES:
            raise
        raise ModuleNotFoundError(
            f'{scope} itself needs {_name_project_and_command(error.name)}'
        ) from error
