"""Open files that are this process's alone: a child that is forked lets go of them.

A child has all files that its parent has open, and with them its locks and its ends of channels:
a lock is held, and a channel is open, until the last process lets go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_NUMBERS: Final[set[int]] = set()


@contextlib.contextmanager
def own_file(number: int) -> Iterator[None]:
    """Keep an open file from the children that are forked in the block.

    Args:
        number: its file descriptor, which is open as long as the block lasts.
    """
    _NUMBERS.add(number)
    try:
        yield
    finally:
        _NUMBERS.discard(number)


def let_go() -> None:
    """Let go of the parent's own files, in a child that was forked; elsewhere there are none.

    The numbers stay taken, so that what closes them later closes nobody else's file.
    """
    if not _NUMBERS:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in _NUMBERS:
        os.dup2(nothing, number)
    os.close(nothing)
    _NUMBERS.clear()
