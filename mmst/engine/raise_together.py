"""Raise on every rank what is raised on one, so that no rank waits for it."""

from contextlib import contextmanager
from typing import Iterator, Optional

from mmengine.dist import all_gather_object


@contextmanager
def raise_together() -> Iterator[None]:
    """Leave on all ranks alike what all ranks have entered.

    Where one rank's images are refused, the others would wait for it in their
    next collective operation until they run out of time.

    Raises:
        Exception: This rank's own; or, where another rank has one, that
            rank's words, as ``ValueError``, ``TypeError`` or else
            ``RuntimeError``.
    """
    error: Optional[Exception] = None
    try:
        yield
    except Exception as raised:
        error = raised
    others = share_error(error)
    if error is not None:
        raise error
    if others is not None:
        raise others


def share_error(error: Optional[Exception]) -> Optional[Exception]:
    """Return this rank's error, or else that of the first rank with one.

    Every rank has to call it.
    """
    kind = next(
        (c for c in (TypeError, ValueError) if isinstance(error, c)),
        RuntimeError,
    )
    words = None if error is None else (kind, ' '.join(str(error).split()))
    for rank, found in enumerate(all_gather_object(words)):
        if found is not None and error is None:
            kind, text = found
            return kind(f'on rank {rank}: {text}')
    return error
