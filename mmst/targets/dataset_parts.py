"""Find the data sets and transforms inside of a data set."""

from types import FunctionType, MethodType, ModuleType
from typing import Any, Iterator, Sequence, Set

from torch import Tensor, nn

# These have attributes, but are no part of a data set.
_OTHER = (type, ModuleType, FunctionType, MethodType, Tensor, nn.Module)


def iter_parts(dataset: Any) -> Iterator[Any]:
    """Iterate over a data set and all data sets and transforms in it.

    Wrappers are searched for whatever they contain, under any name, so a
    user's own wrapper works like any other.

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
            waiting.extend(filter(_is_part, _iter_items(value)))


def _iter_items(value: Any) -> Sequence[Any]:
    """List the content of a list or a dictionary, unless it is plain data."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return (value,)
    # There may be millions of images and annotations.
    return value if any(map(_is_part, value[:50])) else ()


def _is_part(value: Any) -> bool:
    return (
        not isinstance(value, (dict, *_OTHER))
        and hasattr(value, '__dict__')
        and (callable(value) or hasattr(value, '__getitem__'))
    )
