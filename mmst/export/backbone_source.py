"""Python source of a backbone that is a subnet of a stock one.

A subclass, and not a fixed module that reads what to change from the config:
so the options of the stock backbone stay where users and the toolboxes' own
lines set them, as in ``model.backbone.frozen_stages``, and are not those of a
network inside of another. A class of ``mmst`` has to go along as source in
either case, since the export has to work where ``mmst`` is not installed.
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


def backbone_source(
    base: type, depths: Sequence[int], changes: Sequence[Change]
) -> str:
    """Source of a module that registers a subnet's backbone.

    The class is registered in MMEngine's own registry, from which all
    toolboxes build, by the name of the module.

    Args:
        base: Class of the whole backbone. One of ``mmst`` goes along in
            source, if all that it imports is stock; so does one of an
            earlier export.
        depths: Number of blocks in each stage.
        changes: What makes the backbone the subnet.
    """
    statements = list(_statements(changes))
    narrows = any(line.startswith('narrow(') for line in statements)
    uses_nn = narrows or any('nn.' in line for line in statements)
    torch_import = 'from torch import nn\n' if uses_nn else ''
    if goes_along(base):
        head = _own_source(base).replace(_OUR_IMPORT, _IMPORT)
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


def goes_along(base: type) -> bool:
    """Whether a backbone class has to go along in source, and can."""
    return is_exported(base) or (is_of_mmst(base) and not needs_mmst(base))


def is_exported(base: type) -> bool:
    """Whether a backbone class is of an earlier export, in its folder."""
    try:
        source = inspect.getsource(sys.modules[base.__module__])
    except (OSError, TypeError):  # of no file
        return False
    return f'{_REGISTRATION}class {base.__name__}(' in source


def needs_mmst(base: type) -> bool:
    """Whether a backbone class cannot go along without ``mmst``."""
    return (
        is_of_mmst(base)
        and re.search(
            r'^\s*(from|import) (mmst|\.)',
            _own_source(base).replace(_OUR_IMPORT, ''),
            re.M,
        )
        is not None
    )


def is_of_mmst(base: type) -> bool:
    """Whether ``mmst`` defines this class."""
    return base.__module__.split('.')[0] == 'mmst'


def _own_source(base: type) -> str:
    """The module of a class, without its doc and registration."""
    source = inspect.getsource(sys.modules[base.__module__])
    source = re.sub(r'\A(#.*\n)*""".*?"""\n', '', source, flags=re.S)
    for line in ('@MODELS.register_module()\n', _REGISTRATION):
        source = source.replace(line, '')
    return source


def _statements(changes: Sequence[Change]) -> Iterator[str]:
    """The changes as lines of ``__init__``."""
    shortened = set()
    for name, kind, width in changes:
        parent, _, child = name.rpartition('.')
        if kind == 'identity':
            yield f'{_path(name)} = nn.Identity()'
        elif kind == 'narrow':
            yield f'narrow({_path(name)}, {width})'
        elif not child.isdigit():
            yield f'del {_path(name)}'
        elif parent not in shortened:
            # The first of those that go; they end their list.
            shortened.add(parent)
            yield f'del {_path(parent)}[{child}:]'


def _path(name: str) -> str:
    """A module's name, such as ``stages.0.blocks``, as an expression."""
    return 'self' + ''.join(
        f'[{part}]' if part.isdigit() else f'.{part}'
        for part in name.split('.')
    )
