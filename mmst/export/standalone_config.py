"""Write the config of an exported subnet, and build the model from it."""

import re
import sys
from pathlib import Path
from typing import List, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import nn

from mmst.installation import TOOLBOXES
from mmst.subnets.export import Change

from .backbone_source import is_exported, make_backbone_source
from .plain_config import list_own_types

# Packages that the stock toolboxes bring along.
_STOCK = {*TOOLBOXES, 'mmcv', 'mmengine', 'torch', 'torchvision', 'timm'}
_HEADER = """\
# A subnet with {depths} blocks, written by tools/export_subnet.py of mmst.
{notes}import sys

# An import statement would make this a config in MMEngine's new style.
os = __import__('os')
# MMEngine's fileDirname fails on paths that contain quotes.
_folder = os.path.dirname(sys._getframe().f_code.co_filename)
"""
_MODULE_HEADER = """\
# The backbone is in the Python module beside this file. To use a copy of this
# config elsewhere, as in a work dir, put this folder on PYTHONPATH.
sys.path.insert(0, _folder)
"""
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
    notes: Sequence[str] = (),
) -> List[str]:
    """Write a subnet's config and, where one is needed, its backbone.

    The plain config of the whole network is changed into the subnet's. Notes
    are lines for its head.

    Returns:
        Modules and classes that the config needs and that are neither in the
        folder nor in a stock toolbox.
    """
    if not plain.model.get('backbone'):
        raise ValueError(
            f'the config of {type(model).__name__} has no model.backbone to '
            "replace with a subnet's: call mmst.subnets.export_subnet in "
            'Python'
        )
    base = type(model.backbone)
    inside = _change_head(plain, changes)
    header = _HEADER.format(
        depths='-'.join(map(str, depths)),
        notes=''.join(f'# {note}\n' for note in notes),
    )
    imports = plain.get('custom_imports') or {}
    # The source of modules of earlier exports is taken over.
    modules = [
        name for name in imports.get('imports', ()) if not is_exported(name)
    ]
    needed = [name for name in modules if not _is_stock(name)]
    if inside or is_exported(base.__module__):
        module = _make_module_name(name)
        source = make_backbone_source(base, depths, inside)
        (folder / f'{module}.py').write_text(source, encoding='utf-8')
        plain.model.backbone.type = module
        header += _MODULE_HEADER
        modules.append(module)
        if not (_is_stock(base.__module__) or is_exported(base.__module__)):
            needed.append(f'{base.__module__}.{base.__name__}')
    needed = list_own_types(plain.to_dict()) + needed
    if any(entry.split('.')[0] == 'mmst' for entry in needed):
        modules.insert(0, 'mmst')
    if modules or imports:
        plain.custom_imports = dict(imports, imports=modules)
    plain.pop('load_from', None)
    plain.resume = False
    footer = _FOOTER.format(weights=f'{name}.pth')
    (folder / f'{name}.py').write_text(
        header + plain.pretty_text + footer, encoding='utf-8'
    )
    return needed


def build_from(folder: Path, name: str) -> nn.Module:
    """Build the model from the files as a user would, with its weights.

    The folder's module is imported, and forgotten, without writing bytecode.
    """
    module = _make_module_name(name)
    # An earlier export may have had that name.
    earlier = sys.modules.pop(module, None)
    path, no_bytecode = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        cfg = Config.fromfile(str(folder / f'{name}.py'))
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            model = MODELS.build(cfg.model)
    finally:
        sys.path[:], sys.dont_write_bytecode = path, no_bytecode
        sys.modules.pop(module, None)
        if earlier is not None:
            sys.modules[module] = earlier
    weights = str(folder / f'{name}.pth')
    load_checkpoint(model, weights, 'cpu', strict=True, logger='silent')
    return model


def _make_module_name(name: str) -> str:
    """Make the name of a subnet's module, different for each subnet."""
    return 'backbone_' + re.sub(r'\W', '_', name)


def _is_stock(module: str) -> bool:
    return module.split('.')[0] in _STOCK


def _change_head(cfg: Config, changes: Sequence[Change]) -> List[Change]:
    """Make the changes outside the backbone; return those inside."""
    inside = []
    for change in changes:
        if change.name.startswith(_BACKBONE):
            inside.append(change._replace(name=change.name[len(_BACKBONE) :]))
            continue
        # The classifier after a DenseNet takes fewer channels.
        head = cfg.model.get('head')
        if 'in_channels' not in (head or ()):
            raise ValueError(
                f'{change.name} must take {change.width} channels, but the '
                'config has no model.head.in_channels to set: keep the last '
                'stage whole'
            )
        head.in_channels = change.width
    return inside
