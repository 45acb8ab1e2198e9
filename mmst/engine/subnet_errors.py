"""Name in an exception the subnet in whose pass it was raised."""

from contextlib import contextmanager
from typing import ContextManager, Iterator

from mmst.subnets import Subnet


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Put a place before the message of any exception raised inside.

    The exception keeps its type and its traceback.

    Args:
        place: Such as ``'iteration 7'``.
    """
    try:
        yield
    except Exception as error:
        text = f'{place}: {error}'
        error.args = (text, *error.args[1:])
        if place not in str(error):  # a type that has words of its own
            raise RuntimeError(text) from error
        raise


def naming_subnet(subnet: Subnet, index: int = 0) -> ContextManager[None]:
    """Name a subnet, with its input size, in exceptions of its pass.

    Args:
        subnet: The subnet.
        index: Its index in the iteration, from 0.
    """
    return naming(f'subnet {index} ({subnet})')
