"""Stimulative training for plain PyTorch and for the OpenMMLab toolboxes.

:mod:`mmst.subnets` needs only PyTorch. Registered modules, and everything else
that needs OpenMMLab, are imported when a config or a user first asks for them.
"""

from importlib import import_module
from typing import Any

from .version import __version__

#: Imported at the first use of ``mmst.<name>``, so that tools answer
#: ``--help`` without waiting for PyTorch.
_ON_DEMAND = (
    'analysis',
    'checkpoints',
    'engine',
    'evaluation',
    'export',
    'models',
    'subnets',
    'targets',
)

__all__ = ['__version__', *_ON_DEMAND]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
