"""Python source of a backbone that is a subnet of a stock one.

The module is generated. A fixed one that reads the changes from the config
could not replace it: an export has to work without ``mmst``, so classes that
are not stock (those of ``mmst``, of a user and of an earlier export) have to
be copied into it as source anyway. Besides, a subclass shows what was cut,
and the options of the stock backbone stay where users set them, as in
``model.backbone.frozen_stages``.
"""

import inspect
import re
import sys
from typing import Iterator, Sequence, Tuple

from mmst.subnets.export import Change, narrow

from .own_modules import is_own, list_own_imports

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
        base: Class of the whole backbone. The source of a class of ``mmst``,
            or of the user's own modules, is copied if its imports are stock;
            so is one of an earlier export.
        depths: Number of blocks in each stage.
        changes: Turn the backbone into the subnet.
    """
    statements = list(_iter_statements(changes))
    narrows = any(line.startswith('narrow(') for line in statements)
    uses_nn = narrows or any('nn.' in line for line in statements)
    torch_import = 'from torch import nn\n' if uses_nn else ''
    if is_embedded(base):
        future, source = _split_future(_read_source(base))
        head = future + torch_import + source.rstrip() + '\n\n' + _IMPORT
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
    return is_exported(base) or (
        is_own(base.__module__) and not needs_own_modules(base)
    )


def is_exported(base: type) -> bool:
    """Whether a backbone class is one of an earlier export."""
    try:
        source = inspect.getsource(sys.modules[base.__module__])
    except (OSError, TypeError):  # it has no file
        return False
    return f'{_REGISTRATION}class {base.__name__}(' in source


def needs_own_modules(base: type) -> bool:
    """Whether a class of ``mmst`` or the user's own needs more of these."""
    return is_own(base.__module__) and bool(
        list_own_imports(_read_source(base))
    )


def _read_source(base: type) -> str:
    """Read a class's module, without its docstring and registration.

    Other registrations in it are forced, since the module may be imported
    beside the original one.
    """
    source = inspect.getsource(sys.modules[base.__module__])
    source = re.sub(r'\A(#.*\n)*""".*?"""\n', '', source, flags=re.S)
    source = source.replace(_OUR_IMPORT, _IMPORT).replace(_REGISTRATION, '')
    source = re.sub(
        rf'^@.*register_module\(.*\)\n(?=class {base.__name__}\b)',
        '',
        source,
        flags=re.M,
    )
    return re.sub(
        r'^(@.*register_module\()((?!.*force).*)\)$',
        lambda found: (
            found[1] + (f'{found[2]}, ' if found[2] else '') + 'force=True)'
        ),
        source,
        flags=re.M,
    )


def _split_future(source: str) -> Tuple[str, str]:
    """Split off the imports from ``__future__``, which have to be first."""
    pattern = re.compile(r'^from __future__ import .*\n', re.M)
    return ''.join(pattern.findall(source)), pattern.sub('', source)


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
