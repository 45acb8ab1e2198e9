"""Refuse invalid values of options, by the option's name."""

import math
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Iterable, List, Mapping, Optional, TypeVar

Class = TypeVar('Class', bound=type)


def check_count(option: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number.

    Args:
        option: Name of the option.
        value: Its value.
        least: The minimum.

    Raises:
        ValueError: If it is not a whole number, or below ``least``.

    Example:
        >>> check_count('num_subnets', 3, least=0)
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f'{option} {value!r} is not a whole number of at least {least}'
        )


def check_flag(option: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{option} {value!r} is neither True nor False')


def check_list(option: str, value: Any, of: str) -> None:
    """Refuse what is not a list or a tuple.

    Args:
        option: Name of the option.
        value: Its value.
        of: The expected kind of entries.

    Raises:
        ValueError: If it is not one.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'{option} {value!r} is not a list of {of}')


def check_counts(option: str, value: Any, of: str) -> None:
    """Refuse what is not a list of whole numbers of at least 1.

    Args:
        option: Name of the option.
        value: Its value.
        of: What the list is of.

    Raises:
        ValueError: If it is not one.
    """
    check_list(option, value, of)
    for entry in value:
        check_count(f'{option} {list(value)}:', entry, least=1)


def check_config(option: str, value: Any, example: str) -> None:
    """Refuse what is not a config that something can be built from.

    Args:
        option: Name of the option.
        value: Its value.
        example: An allowed one.

    Raises:
        ValueError: If it is not a dict with a ``type``.
    """
    if not isinstance(value, dict) or 'type' not in value:
        raise ValueError(
            f'{option} {value!r} is not a dict with a type, such as {example}'
        )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are not."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def check_number(
    option: str,
    value: Any,
    above: Optional[float] = None,
    least: Optional[float] = None,
) -> None:
    """Refuse what is not a finite number in a range.

    Args:
        option: Name of the option.
        value: Its value.
        above: The value must be above this.
        least: The value must be at least this.

    Raises:
        ValueError: If it is not such a number.
    """
    if is_number(value):
        if (above is None or value > above) and (
            least is None or value >= least
        ):
            return
    bound = f'above {above}' if least is None else f'of at least {least}'
    raise ValueError(f'{option} {value!r} is not a finite number {bound}')


def check_names(
    part: str, given: Mapping[str, Any], known: Iterable[str]
) -> None:
    """Refuse options that a part does not have.

    Args:
        part: Name of the part.
        given: Names and values.
        known: Names of its options.

    Raises:
        ValueError: If a name is not known.

    Example:
        >>> check_names('Sampler', dict(size=3), ['size', 'space'])
    """
    known = list(known)
    for name, value in given.items():
        if name not in known:
            raise ValueError(
                f'{part} has no option {name!r}, which is set to {value!r}: '
                f'remove it, or set one of {", ".join(known)}'
            )


def refuse_unknown(part: Class) -> Class:
    """Make a class refuse options that it does not have, by name.

    Its options are those of its ``__init__``, and of its bases' if that passes
    keywords on. A class is not changed if they are not known.
    """
    known = _list_options(part)
    if known is None:
        return part
    init = part.__init__  # type: ignore[misc]

    @wraps(init)
    def check_and_init(self: Any, *args: Any, **kwargs: Any) -> None:
        check_names(part.__name__, kwargs, known)
        init(self, *args, **kwargs)

    part.__init__ = check_and_init  # type: ignore[misc]
    return part


def _list_options(part: type) -> Optional[List[str]]:
    names: List[str] = []
    passes_on = False
    for base in part.__mro__[:-1]:  # without object
        if '__init__' not in vars(base):
            continue
        own = list(signature(vars(base)['__init__']).parameters.values())[1:]
        names += [
            parameter.name
            for parameter in own
            if parameter.kind
            not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        ]
        passes_on = any(p.kind is Parameter.VAR_KEYWORD for p in own)
        if not passes_on:
            break
    return None if passes_on else list(dict.fromkeys(names))
