"""Standard error, the file descriptor: libraries in C++ write there without asking Python."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def stderr_to(file: IO[Any]) -> Iterator[None]:
    """Send what this process and its children write to standard error into an open file.

    Raises:
        OSError: there is no standard error.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
