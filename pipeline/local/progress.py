"""Follows LocalDagRunner from node to node through its log messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from common.progress import PROGRESS

# LocalDagRunner has no hook; these are the messages (format strings) it logs.
_STARTED: Final = "Component %s is running."
_FINISHED: Final = "Component %s is finished."
_CACHED: Final = "A cached execution %d is used."
_EXECUTING: Final = "Going to run a new execution %d"

# `resolved`: a resolver looked something up in the metadata store; it computes nothing.
How = Literal["executed", "cached", "resolved"]


class Listener(Protocol):
    """The interface of what wants to know a run's progress."""

    def warn(self, sentence: str) -> None:
        """Tell what the user should know, but what stops nothing."""

    def node_started(self, node: str) -> None:
        """Take note that a node was handed to its launcher."""

    def node_progressed(self, what: str, done: int, total: int) -> None:
        """Take note of how far the node under way is: `done` of `total` `what`."""

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Take note that a node is done."""


@dataclass
class NodeClock(logging.Handler):
    """A handler that makes calls of the runner's messages, and keeps seconds per node.

    Attributes:
        listener: is called.
        before_execution: called with a node's id once the cache has no answer; what it raises
            ends the run.
        seconds: node id -> wall-clock seconds, in the order of execution.
        how: node id -> what was done for it.
    """

    listener: Listener
    before_execution: Callable[[str], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    how: dict[str, How] = field(default_factory=dict)
    _running: str | None = None
    _started: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message."""
        if record.msg == _STARTED and record.args:
            self._running = str(record.args[0])  # type: ignore[index]
            self._started = time.monotonic()
            self.listener.node_started(self._running)
        elif record.msg == PROGRESS and isinstance(record.args, tuple) and self._running:
            done, total, what = record.args
            self.listener.node_progressed(str(what), int(str(done)), int(str(total)))
        elif record.msg == _CACHED and self._running:
            self.how[self._running] = "cached"
        elif record.msg == _EXECUTING and self._running:
            self.how[self._running] = "executed"
            if self.before_execution:
                self.before_execution(self._running)
        elif record.msg == _FINISHED and self._running:
            spent = time.monotonic() - self._started
            self.seconds[self._running] = spent
            how = self.how.setdefault(self._running, "resolved")
            self.listener.node_finished(self._running, spent, how)
            self._running = None

    @property
    def running(self) -> str | None:
        """The node that is under way (or has failed)."""
        return self._running
