"""An exception says in which subnet's pass it was raised."""

from contextlib import contextmanager
from typing import ContextManager, Iterator

from mmst.subnets import Subnet


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Put a place before the words of whatever exception is raised.

    It stays an exception of its own type, with its own traceback.

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
        index: Which of the iteration's it is, from 0.
    """
    return naming(f'subnet {index} ({subnet})')
