"""Raise on all ranks what is raised on one, so that no rank waits for it."""

from contextlib import contextmanager
from typing import Iterator, Optional

from mmengine.dist import all_gather_object


@contextmanager
def raise_together() -> Iterator[None]:
    """Raise on all ranks what is raised on one of them inside.

    Otherwise, if one rank's images are refused, the others would wait for it
    in their next collective operation until a timeout. All ranks must enter.

    Raises:
        Exception: This rank's own; or else another rank's message, as
            ``ValueError``, ``TypeError`` or ``RuntimeError``.
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

    All ranks must call it.
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
