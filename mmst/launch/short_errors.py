"""Errors of a tool, short and last on the screen."""

import json
import linecache
import os
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

#: The most characters of a message; MMEngine's may have a whole config.
MAX_LENGTH = 2000
_MMST = Path(__file__).resolve().parents[1]


def print_short_error(
    kind: Type[BaseException],
    error: BaseException,
    trace: Optional[TracebackType],
) -> None:
    """Print the error that ends a tool; to be set as ``sys.excepthook``.

    A mistake of the user that mmst refuses is told without a traceback; any
    other error with one, its own, without those of errors before it.
    """
    if not isinstance(error, Exception):  # Ctrl-C
        sys.__excepthook__(kind, error, trace)
        return
    lines = traceback.format_exception(kind, error, trace, chain=False)
    message = lines[-1]
    if len(message) > MAX_LENGTH:
        message = message[:MAX_LENGTH] + ' ... (cut here)\n'
    if _is_refusal(error):
        lines = []
    # Standard output was logged before it: flush that first.
    sys.stdout.flush()
    print(*lines[:-1], message, sep='', end='', file=sys.stderr)
    if 'TORCHELASTIC_ERROR_FILE' in os.environ:
        # torchrun ends its report of failed processes with this.
        extra = dict(py_callstack=message, timestamp=str(int(time.time())))
        content = dict(message=dict(message=message, extraInfo=extra))
        path = Path(os.environ['TORCHELASTIC_ERROR_FILE'])
        path.write_text(json.dumps(content))


def _is_refusal(error: Exception) -> bool:
    """Whether an error is a ``raise`` of mmst or its tools for users."""
    kinds = (ValueError, TypeError, FileNotFoundError, ModuleNotFoundError)
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, kinds) or not frames:
        return False
    path = Path(frames[-1].filename).resolve()
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0)
    own = _MMST in path.parents or path == Path(sys.argv[0]).resolve()
    return own and line.strip().startswith('raise')
