"""A clock that is set, and not waited for."""

from __future__ import annotations

import pytest
from tfx.components.pusher import executor

from components.serving_pusher import driver


class Clock:
    """Has of the module `time` what Pusher and its driver ask; it goes only while they sleep."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Is over at once."""
        self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which versions are named, and waited for."""
    made = Clock()
    for module in (driver, executor):
        monkeypatch.setattr(module, "time", made)
    return made
