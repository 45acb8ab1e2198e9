"""Write the config of an exported subnet, and build the model from it."""

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import nn

from mmst.subnets.export import Change

from .backbone_source import (
    is_embedded,
    make_backbone_source,
    needs_own_modules,
)
from .own_modules import is_own
from .plain_config import list_own_types

_HEADER = """\
# A subnet with {depths} blocks, written by tools/export_subnet.py of mmst.
import sys

# An import statement would make this a config in MMEngine's new style.
os = __import__('os')
# MMEngine's fileDirname fails on paths that contain quotes.
_folder = os.path.dirname(sys._getframe().f_code.co_filename)
"""
_HEADER_WITH_MODULE = (
    _HEADER
    + """\
# The backbone is in the Python module beside this file. To use a copy of this
# config elsewhere, as in a work dir, put this folder on PYTHONPATH.
sys.path.insert(0, _folder)
"""
)
_FOOTER = """\
load_from = os.path.join(_folder, {weights!r})
del _folder
"""
_BACKBONE = 'backbone.'


def write_config(
    plain: Config,
    model: nn.Module,
    depths: Sequence[int],
    changes: Sequence[Change],
    folder: Path,
    name: str,
) -> List[str]:
    """Write a subnet's config and, where one is needed, its backbone.

    Args:
        plain: The config of the whole network, see
            :func:`make_plain_config`; changed into the subnet's.
        model: The whole network.
        depths: Number of blocks in each stage.
        changes: Turn the network into the subnet.
        folder: Where to write.
        name: Name of the files, without ending.

    Returns:
        list: What the config needs that is of ``mmst`` or the user's own.

    Raises:
        ValueError: If the config cannot describe the subnet.
    """
    base = _find_backbone_class(plain, model)
    inside = _change_head(plain, changes)
    header, module = _HEADER, _make_module_name(name)
    if inside or is_embedded(base):
        source = make_backbone_source(base, depths, inside)
        (folder / f'{module}.py').write_text(source, encoding='utf-8')
        plain.model.backbone.type = module
        if is_embedded(base):
            _do_not_import(plain, base.__module__)
        header = _HEADER_WITH_MODULE
    left = list_own_types(plain.to_dict()) + _list_own_imports(plain)
    if needs_own_modules(base):
        left.append(f'{base.__module__}.{base.__name__}')
    if any(name.split('.')[0] == 'mmst' for name in left):
        _import(plain, 'mmst')
    if header is _HEADER_WITH_MODULE:
        _import(plain, module)
    plain.pop('load_from', None)
    plain.resume = False
    header = header.format(depths='-'.join(map(str, depths)))
    footer = _FOOTER.format(weights=f'{name}.pth')
    (folder / f'{name}.py').write_text(
        header + plain.pretty_text + footer, encoding='utf-8'
    )
    return left


def build_from(folder: Path, name: str) -> nn.Module:
    """Build the model from the files as a user would, with its weights.

    Args:
        folder: See :func:`write_config`; can be moved afterwards.
        name: See :func:`write_config`.
    """
    with _undo_imports(_make_module_name(name)):
        cfg = Config.fromfile(str(folder / f'{name}.py'))
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            model = MODELS.build(cfg.model)
    load_checkpoint(
        model,
        str(folder / f'{name}.pth'),
        map_location='cpu',
        strict=True,
        logger='silent',
    )
    return model


def _make_module_name(name: str) -> str:
    """Make the name of a subnet's module, different for each subnet."""
    return 'backbone_' + re.sub(r'\W', '_', name)


def _import(cfg: Config, module: str) -> None:
    imports = cfg.get('custom_imports') or {}
    cfg.custom_imports = dict(
        imports=[*imports.get('imports', ()), module],
        allow_failed_imports=imports.get('allow_failed_imports', False),
    )


def _do_not_import(cfg: Config, module: str) -> None:
    imports = cfg.get('custom_imports') or {}
    names = [name for name in imports.get('imports', ()) if name != module]
    cfg.custom_imports = dict(imports, imports=names)


def _list_own_imports(cfg: Config) -> List[str]:
    names = (cfg.get('custom_imports') or {}).get('imports', ())
    return [name for name in names if is_own(name)]


def _find_backbone_class(cfg: Config, model: nn.Module) -> type:
    """Find the class that a subnet's backbone replaces."""
    if not cfg.model.get('backbone'):
        raise ValueError(
            f'the config of {type(model).__name__} has no model.backbone to '
            "replace with a subnet's: call mmst.subnets.export_subnet in "
            'Python'
        )
    return type(model.backbone)


def _change_head(cfg: Config, changes: Sequence[Change]) -> List[Change]:
    """Make the changes outside the backbone; return those inside."""
    inside = []
    for change in changes:
        if change.name.startswith(_BACKBONE):
            inside.append(change._replace(name=change.name[len(_BACKBONE) :]))
        else:
            _narrow_head(cfg, change)
    return inside


def _narrow_head(cfg: Config, change: Change) -> None:
    """Make the classifier after a DenseNet take fewer channels."""
    head = cfg.model.get('head')
    if 'in_channels' not in (head or ()):
        raise ValueError(
            f'{change.name} must take {change.width} channels, but the '
            'config has no model.head.in_channels to set: keep the last '
            'stage whole'
        )
    head.in_channels = change.width


@contextmanager
def _undo_imports(module: str) -> Iterator[None]:
    """Undo imports from an export's folder, without writing bytecode."""
    path, no_bytecode = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.modules.pop(module, None)
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, no_bytecode
        sys.modules.pop(module, None)
