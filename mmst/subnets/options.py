"""Refuse options with invalid values, by name."""

import math
from typing import Any, Optional


def check_count(option: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number.

    Args:
        option: Name of the option.
        value: Its value.
        least: The least allowed.

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
        ValueError: If it is not one.
    """
    if is_number(value):
        if (above is None or value > above) and (
            least is None or value >= least
        ):
            return
    bound = f'above {above}' if least is None else f'of at least {least}'
    raise ValueError(f'{option} {value!r} is not a finite number {bound}')
