"""Find the data sets and transforms inside of a data set."""

from types import FunctionType, MethodType, ModuleType
from typing import Any, Iterator, Sequence, Set

from torch import Tensor, nn

# Have attributes, and are no part of a data set.
_OTHER = (type, ModuleType, FunctionType, MethodType, Tensor, nn.Module)


def iter_parts(dataset: Any) -> Iterator[Any]:
    """Iterate over a data set and all data sets and transforms in it.

    Wrappers are followed by what they hold and not by how they call it, so
    that one of a user's own is a wrapper like any other.

    Args:
        dataset: Any data set.
    """
    seen: Set[int] = set()
    waiting = [dataset]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for value in vars(part).values() if hasattr(part, '__dict__') else ():
            waiting.extend(filter(_is_part, _items(value)))


def _items(value: Any) -> Sequence[Any]:
    """What is in a list or a dictionary, unless it is one of plain data."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return (value,)
    # Of images and annotations there may be millions.
    return value if any(map(_is_part, value[:50])) else ()


def _is_part(value: Any) -> bool:
    return (
        not isinstance(value, (dict, *_OTHER))
        and hasattr(value, '__dict__')
        and (callable(value) or hasattr(value, '__getitem__'))
    )
