"""Say in exceptions where they were raised."""

from contextlib import contextmanager
from typing import ContextManager, Iterator

from mmst.subnets import Subnet


@contextmanager
def prefix_errors(place: str) -> Iterator[None]:
    """Prefix the message of any exception raised inside with a place.

    The exception keeps its type and traceback.

    Args:
        place: For example ``'iteration 7'``.
    """
    try:
        yield
    except Exception as error:
        text = f'{place}: {error}'
        error.args = (text, *error.args[1:])
        if place not in str(error):  # a type that ignores its arguments
            raise RuntimeError(text) from error
        raise


def name_failing_subnet(
    subnet: Subnet, index: int = 0
) -> ContextManager[None]:
    """Prefix the messages of exceptions with a subnet and its input size.

    Args:
        subnet: The subnet.
        index: Its index in the iteration, from 0.
    """
    return prefix_errors(f'subnet {index} ({subnet})')
