"""Progress of a long step: said in the log, where whoever runs it may listen."""

from __future__ import annotations

from typing import Final

from absl import logging

# The message before its values are put in, which a listener knows it by: done, total, what.
PROGRESS: Final = "Progress: %d of %d %s"


class Progress:
    """A count that is logged at its beginning, and then whenever a percent is full."""

    def __init__(self, what: str, total: int) -> None:
        """Begin.

        Args:
            what: is counted, in the plural. No two counts of one node have the same.
            total: of all; nothing is said of 0.
        """
        self._what, self._total, self._done = what, total, 0
        if total:
            self._say()

    def advance(self, count: int = 1) -> None:
        """Count what is done since the last call."""
        before = self._percent
        self._done += count
        if self._percent > before:
            self._say()

    @property
    def _percent(self) -> int:
        return 100 * self._done // self._total

    def _say(self) -> None:
        logging.info(PROGRESS, self._done, self._total, self._what)
