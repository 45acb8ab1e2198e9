"""The OpenMMLab toolbox that a config is written for."""

from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Dict, Optional

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings, is_installed

from mmst.installation import TOOLBOXES, get_install_command

# Settings beside the arguments of Runner that a config may have.
_READ_BY_RUNNER = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'preprocess_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


def _name_project_and_command(scope: str) -> str:
    return f'{TOOLBOXES[scope][0]}: {get_install_command(scope)}'


def read_config(
    path: str, cfg_options: Optional[Dict[str, Any]] = None
) -> Config:
    """Read a config file, and change it by options with dotted names."""
    cfg = _read_file(path)
    # MMEngine adds a toolbox's scope to parts of its bases, and would pass it
    # to these functions, which have no such argument.
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for key in ('collate_fn', 'worker_init_fn'):
            function = (cfg.get(name) or {}).get(key)
            if isinstance(function, dict):
                function.pop('_scope_', None)
    if cfg_options:
        change_config(cfg, cfg_options)
    if 'preprocess_cfg' in cfg:  # mmpose's other name of it
        cfg.model.setdefault('data_preprocessor', cfg.preprocess_cfg)
    return cfg


def _read_file(path: str) -> Config:
    if not Path(path).is_file():
        raise FileNotFoundError(f'the config {path} does not exist')
    find_bases_by_import_name()
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        where = error.filename or ''
        where = where if where.endswith('.py') else f'{path} or a base of it'
        raise ValueError(
            f'{where}, line {error.lineno}: {error.msg}: '
            f'{(error.text or "").strip()}'
        ) from None
    except ModuleNotFoundError as error:
        for scope in TOOLBOXES:
            package = MODULE2PACKAGE[scope]
            if str(error).startswith(f'{package} is not installed'):
                raise ModuleNotFoundError(
                    f"The '{scope}::' base of {path} needs "
                    + _name_project_and_command(scope)
                ) from None
        raise


def find_bases_by_import_name() -> None:
    """Make MMEngine find ``<toolbox>::`` bases in OneDL's packages too.

    MMEngine looks a toolbox up by its project's name for pip, such as
    mmsegmentation, which OneDL's has not; the import name does as well.
    """
    for scope in TOOLBOXES:
        if is_installed(scope) and not is_installed(MODULE2PACKAGE[scope]):
            MODULE2PACKAGE[scope] = scope


def change_config(cfg: Config, options: Dict[str, Any]) -> None:
    """Change a config by options with dotted names, as of ``--cfg-options``.

    Raises:
        ValueError: For a name that MMEngine would add, unread by all.
    """
    known = {*cfg.keys(), *signature(Runner).parameters, *_READ_BY_RUNNER}
    for option in options:
        name = option.split('.')[0]
        if name in known:
            continue
        told = f'It has {", ".join(sorted(cfg.keys()))}'
        for near in get_close_matches(name, known, 1):
            told = f"Did you mean '{near}'?"
        raise ValueError(
            f"--cfg-options {option}: the config has no '{name}'. {told}"
        )
    cfg.merge_from_dict(options)
    if cfg.get('custom_imports'):
        # MMEngine imports only modules that the file itself names.
        import_modules_from_strings(**cfg.custom_imports)


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

    MMEngine only warns if it is missing, and fails later. It may need another
    one: mmpose's models need mmdet.
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
