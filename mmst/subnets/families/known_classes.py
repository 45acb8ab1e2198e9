"""Classes of the packages whose blocks are known."""

from typing import Any, Iterable, Sequence

from torch import nn

from ..stages import unwrap_block

_PACKAGES = {
    'mmdet',
    'mmpose',
    'mmpretrain',
    'mmseg',
    'mmst',
    'timm',
    'torch',
    'torchvision',
}


def _is_known(cls: type) -> bool:
    return cls.__module__.partition('.')[0] in _PACKAGES


def is_block_of(block: nn.Module, names: Sequence[str]) -> bool:
    """Whether a block is of a known package's class, or of a subclass.

    A subclass that the package itself has is another kind of block.

    Args:
        block: The block, with PyTorch's ``CheckpointWrapper`` or without.
        names: Ends of the classes' full names.
    """
    cls = next(filter(_is_known, type(unwrap_block(block)).__mro__))
    full_name = f'.{cls.__module__}.{cls.__qualname__}'
    return full_name.endswith(tuple(f'.{name}' for name in names))


def has_known_forward(module: nn.Module) -> bool:
    """Whether a module's class has its forward from a known package.

    Args:
        module: The module, with PyTorch's ``CheckpointWrapper`` or without.
    """
    classes = type(unwrap_block(module)).__mro__
    cls = next(cls for cls in classes if 'forward' in vars(cls))
    return cls is not nn.Module and _is_known(cls)


def refuse_mixed(
    backbone: nn.Module, place: str, known: Any, others: Iterable[Any]
) -> None:
    """Refuse a list in which only some blocks are known.

    Args:
        backbone: The network.
        place: Name of the list in the network.
        known: One of the known blocks.
        others: The other ones, if any.

    Raises:
        TypeError: If there are others.
    """
    names = {type(unwrap_block(other)).__name__ for other in others}
    if names:
        raise TypeError(
            f'no residual stages found in {type(backbone).__name__}: '
            f'{place} has {", ".join(sorted(names))} beside '
            f'{type(unwrap_block(known)).__name__}, and only the latter is '
            'known. Add the network with '
            '`mmst.subnets.register_stage_finder`'
        )
