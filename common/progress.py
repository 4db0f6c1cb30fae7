"""How far a long step is: said in the log, where whoever runs it may listen."""

from __future__ import annotations

from typing import Final

from absl import logging

# The message as it is logged, before its values are put in: what a listener knows it by.
PROGRESS: Final = "Progress: %s, %d of %d"


def report_progress(what: str, done: int, total: int) -> None:
    """Say how far a step is.

    Args:
        what: is counted, in the plural. A step's own count begins with 0 of it.
        done: so many of it.
        total: of all.
    """
    logging.info(PROGRESS, what, done, total)
