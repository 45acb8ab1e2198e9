"""Classes of the packages whose blocks are known."""

import re
from typing import ContextManager, Iterable, Sequence

from torch import nn

from ..stages import Block, keep_input, replace_forward, unwrap_block

_PACKAGES = re.compile(
    r'(mmdet|mmpose|mmpretrain|mmseg|mmst|timm|torch|torchvision)(\.|$)'
)


def _is_known(cls: type) -> bool:
    return bool(_PACKAGES.match(cls.__module__))


def is_block_of(block: nn.Module, names: Sequence[str]) -> bool:
    """Whether a block is of a class whose full name ends so, or a subclass.

    A subclass that a known package itself has is another kind of block.
    """
    cls = next(filter(_is_known, type(unwrap_block(block)).__mro__))
    full_name = f'.{cls.__module__}.{cls.__qualname__}'
    return full_name.endswith(tuple(f'.{name}' for name in names))


def has_known_forward(module: nn.Module) -> bool:
    """Whether a module's class has its forward from a known package."""
    classes = type(unwrap_block(module)).__mro__
    cls = next(cls for cls in classes if 'forward' in vars(cls))
    return cls is not nn.Module and _is_known(cls)


def make_sum_block(module: nn.Module) -> Block:
    """Make a block that adds its branch to its input in the end."""
    is_known = has_known_forward(module)
    return Block(module, keep_input, _subtract_input if is_known else None)


def _subtract_input(module: nn.Module) -> ContextManager[None]:
    forward = module.forward
    return replace_forward(
        module, lambda x, *args, **kwargs: forward(x, *args, **kwargs) - x
    )


def refuse_mixed(
    backbone: nn.Module,
    place: str,
    known: nn.Module,
    others: Iterable[nn.Module],
) -> None:
    """Raise a TypeError if a list has other modules beside known blocks."""
    names = {type(unwrap_block(other)).__name__ for other in others}
    if names:
        raise TypeError(
            f'no residual stages found in {type(backbone).__name__}: '
            f'{place} has {", ".join(sorted(names))} beside '
            f'{type(unwrap_block(known)).__name__}, and only the latter is '
            'known. Add the network with '
            '`mmst.subnets.register_stage_finder`'
        )
