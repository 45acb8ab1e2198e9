"""Reject invalid values of options with a ValueError that names the option."""

import math
from typing import Any, Optional


def check_count(option: str, value: Any, least: int) -> None:
    """Reject a value that is not a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f'{option} {value!r} is not a whole number of at least {least}'
        )


def check_flag(option: str, value: Any) -> None:
    """Reject a value that is neither True nor False."""
    if not isinstance(value, bool):
        raise ValueError(f'{option} {value!r} is neither True nor False')


def check_list(option: str, value: Any, of: str) -> None:
    """Reject a value that is not a list or a tuple ``of`` something."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'{option} {value!r} is not a list of {of}')


def check_counts(option: str, value: Any, of: str) -> None:
    """Reject a value that is not a list of whole numbers of at least 1."""
    check_list(option, value, of)
    for entry in value:
        check_count(f'{option} {list(value)}:', entry, least=1)


def check_config(option: str, value: Any, example: str) -> None:
    """Reject a value that is not a dict with a ``type``, as in an example."""
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
    """Reject a value that is not a finite number beyond one of two bounds."""
    if is_number(value):
        if (above is None or value > above) and (
            least is None or value >= least
        ):
            return
    bound = f'above {above}' if least is None else f'of at least {least}'
    raise ValueError(f'{option} {value!r} is not a finite number {bound}')
