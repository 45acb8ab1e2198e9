"""Python source of a backbone that is a subnet of another one.

The module is generated. A fixed class that reads the changes from the config
could not replace it, because an export of a stock backbone has to work
without ``mmst``. Besides, a subclass shows what was cut, and the options of
the whole backbone stay where users set them, as in
``model.backbone.frozen_stages``.
"""

import inspect
import re
import sys
from typing import Iterator, Sequence

from mmst.subnets.export import Change, narrow

_WRITER = 'Written by tools/export_subnet.py of mmst'
_SOURCE = '''\
"""{base} without the blocks that its subnet {depths} skips.

{writer}.
"""
{imports}

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
    registry, from which all toolboxes build. The source of a base class of an
    earlier export goes in front, so that the folder of that one is not needed.
    """
    statements = list(_iter_statements(changes))
    imports = 'from mmengine.registry import MODELS\n'
    if is_exported(base.__module__):
        imports += inspect.getsource(sys.modules[base.__module__])
    else:
        # From the shortest name of a package that offers it.
        package = base.__module__.split('.')[0]
        for part in base.__module__.split('.')[1:]:
            if getattr(sys.modules[package], base.__name__, None) is base:
                break
            package += f'.{part}'
        imports += f'from {package} import {base.__name__}\n'
    narrows = any(line.startswith('narrow(') for line in statements)
    if narrows or any('nn.' in line for line in statements):
        imports += 'from torch import nn\n'
    if narrows:
        imports += f'\n\n{inspect.getsource(narrow)}'
    return _SOURCE.format(
        base=base.__name__,
        depths='-'.join(map(str, depths)),
        writer=_WRITER,
        imports=imports,
        body='\n'.join(f'        {line}' for line in statements or ['pass']),
    )


def is_exported(module: str) -> bool:
    """Tell whether an imported module is of an earlier export."""
    return _WRITER in (getattr(sys.modules.get(module), '__doc__', '') or '')


def _iter_statements(changes: Sequence[Change]) -> Iterator[str]:
    """Yield the changes as lines of ``__init__``."""
    shortened = set()
    for name, kind, width in changes:
        # ``stages.0.blocks`` is spelt self.stages[0].blocks.
        place = 'self' + re.sub(r'\.(\d+)\b', r'[\1]', f'.{name}')
        parent = name.rpartition('.')[0]
        if kind == 'identity':
            yield f'{place} = nn.Identity()'
        elif kind == 'narrow':
            yield f'narrow({place}, {width})'
        elif not place.endswith(']'):
            yield f'del {place}'
        elif parent not in shortened:
            # The first to be removed; the rest of its list goes with it.
            shortened.add(parent)
            yield f'del {place[:-1]}:]'
