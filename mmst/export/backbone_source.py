"""Python source of a backbone that is a subnet of a stock one.

The module is generated. A fixed one, with the changes as data in the config,
would not do without generated code: the export has to work where ``mmst`` is
not installed, so the classes of backbones that are not stock ones (those of
``mmst``, and of an earlier export) have to be copied into it anyway. And a
subclass shows at a glance what was cut, while all options of the stock
backbone stay where users set them, as in ``model.backbone.frozen_stages``.
"""

import inspect
import re
import sys
from typing import Iterator, Sequence

from mmst.subnets.export import Change, narrow

_REGISTRATION = '@MODELS.register_module(__name__, force=True)\n'
_IMPORT = 'from mmengine.registry import MODELS\n'
_OUR_IMPORT = 'from mmst.registry import MODELS\n'

_SOURCE = '''\
"""{base} without the blocks that its subnet {depths} skips.

Written by tools/export_subnet.py of mmst, which this file does not need.
"""
{head}

@MODELS.register_module(__name__, force=True)
class {base}Subnet({base}):
    """{base} with {depths} blocks in its stages."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
{body}
'''


def make_backbone_source(
    base: type, depths: Sequence[int], changes: Sequence[Change]
) -> str:
    """Make the source of a module that registers a subnet's backbone.

    The class is registered under the module's name in MMEngine's own
    registry, from which all toolboxes build.

    Args:
        base: Class of the whole backbone. The source of a class of ``mmst``
            is copied if its imports are stock; so is one of an earlier
            export.
        depths: Number of blocks in each stage.
        changes: Turn the backbone into the subnet.
    """
    statements = list(_iter_statements(changes))
    narrows = any(line.startswith('narrow(') for line in statements)
    uses_nn = narrows or any('nn.' in line for line in statements)
    torch_import = 'from torch import nn\n' if uses_nn else ''
    if is_embedded(base):
        head = _read_own_source(base).replace(_OUR_IMPORT, _IMPORT)
        if torch_import not in head:
            head = torch_import + head
    else:
        head = (
            f'{_IMPORT}from {base.__module__} import {base.__name__}\n'
            + torch_import
        )
    if narrows:
        head += f'\n\n{inspect.getsource(narrow)}'
    return _SOURCE.format(
        base=base.__name__,
        depths='-'.join(map(str, depths)),
        head=head,
        body='\n'.join(f'        {line}' for line in statements),
    )


def is_embedded(base: type) -> bool:
    """Whether a backbone class has to be copied as source, and can be."""
    return is_exported(base) or (is_of_mmst(base) and not needs_mmst(base))


def is_exported(base: type) -> bool:
    """Whether a backbone class is one of an earlier export."""
    try:
        source = inspect.getsource(sys.modules[base.__module__])
    except (OSError, TypeError):  # it has no file
        return False
    return f'{_REGISTRATION}class {base.__name__}(' in source


def needs_mmst(base: type) -> bool:
    """Whether a backbone class does not work without ``mmst``."""
    return (
        is_of_mmst(base)
        and re.search(
            r'^\s*(from|import) (mmst|\.)',
            _read_own_source(base).replace(_OUR_IMPORT, ''),
            re.M,
        )
        is not None
    )


def is_of_mmst(base: type) -> bool:
    """Whether ``mmst`` defines this class."""
    return base.__module__.split('.')[0] == 'mmst'


def _read_own_source(base: type) -> str:
    """Read a class's module, without its docstring and registration."""
    source = inspect.getsource(sys.modules[base.__module__])
    source = re.sub(r'\A(#.*\n)*""".*?"""\n', '', source, flags=re.S)
    for line in ('@MODELS.register_module()\n', _REGISTRATION):
        source = source.replace(line, '')
    return source


def _iter_statements(changes: Sequence[Change]) -> Iterator[str]:
    """Yield the changes as lines of ``__init__``."""
    shortened = set()
    for name, kind, width in changes:
        parent, _, child = name.rpartition('.')
        if kind == 'identity':
            yield f'{_make_expression(name)} = nn.Identity()'
        elif kind == 'narrow':
            yield f'narrow({_make_expression(name)}, {width})'
        elif not child.isdigit():
            yield f'del {_make_expression(name)}'
        elif parent not in shortened:
            # The first to be removed; the rest of its list goes with it.
            shortened.add(parent)
            yield f'del {_make_expression(parent)}[{child}:]'


def _make_expression(name: str) -> str:
    """Turn a module's name, such as ``stages.0.blocks``, into Python."""
    return 'self' + ''.join(
        f'[{part}]' if part.isdigit() else f'.{part}'
        for part in name.split('.')
    )
