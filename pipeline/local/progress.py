"""Follows LocalDagRunner from node to node through its log messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from common.progress import PROGRESS

# LocalDagRunner has no hook; these are the messages (format strings) it logs.
STARTED: Final = "Component %s is running."
FINISHED: Final = "Component %s is finished."
_CACHED: Final = "A cached execution %d is used."
_EXECUTING: Final = "Going to run a new execution %d"
# And these are of `side_by_side` alone: that the main thread executes a node, and that one failed.
HERE: Final = "Component %s is executed in the main thread."
FAILED: Final = "Component %s has failed."

# `resolved`: a resolver looked something up in the metadata store; it computes nothing.
How = Literal["executed", "cached", "resolved"]


class Listener(Protocol):
    """The interface of what wants to know a run's progress."""

    def warn(self, sentence: str) -> None:
        """Tell what the user should know, but what stops nothing."""

    def node_started(self, node: str) -> None:
        """Take note that a node was handed to its launcher."""

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Take note of how far a node under way is: `done` of `total` `what`."""

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Take note that a node is done."""

    def node_failed(self, node: str) -> None:
        """Take note that a node failed, of those under way; not told where only one is."""


def log_at_info() -> None:
    """Have absl log what launchers and nodes say at INFO, in this process.

    TFX parses absl's flags anew for every Beam node, which puts the level back to the flag's
    default: so that default has to be INFO, too.
    """
    from absl import flags
    from absl import logging as absl_logging

    flags.FLAGS.set_default("verbosity", absl_logging.INFO)
    absl_logging.set_verbosity(absl_logging.INFO)


@dataclass
class NodeClock(logging.Handler):
    """A handler that makes calls of the runner's messages, and keeps seconds per node.

    Attributes:
        listener: is called.
        before_execution: called with a node's id once the cache has no answer; what it raises
            ends the run.
        seconds: node id -> wall-clock seconds, in the order of execution.
        how: node id -> what was done for it.

    Several nodes may be under way, each launched by a thread of its own.
    """

    listener: Listener
    before_execution: Callable[[str], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    how: dict[str, How] = field(default_factory=dict)
    # Of the nodes under way, in the order of their start: when that was.
    _started: dict[str, float] = field(default_factory=dict)
    # Thread -> the node that it speaks of. Executors have threads of their own, which speak of
    # the node that the main thread executes.
    _spoken_of: dict[int, str] = field(default_factory=dict)
    _here: str | None = None
    _failed: str | None = None

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message."""
        args = record.args if isinstance(record.args, tuple) else ()
        if record.msg in (STARTED, HERE) and args:
            self._here = self._spoken_of[threading.get_ident()] = str(args[0])
            if record.msg == STARTED:
                self._started[self._here] = time.monotonic()
                self.listener.node_started(self._here)
            return
        thread = threading.get_ident()
        node = self._spoken_of.get(thread, self._here)
        if node is None or node not in self._started:
            return
        if record.msg == PROGRESS and args:
            done, total, what = args
            self.listener.node_progressed(node, str(what), int(str(done)), int(str(total)))
        elif record.msg == _CACHED:
            self.how[node] = "cached"
        elif record.msg == _EXECUTING:
            self.how[node] = "executed"
            if self.before_execution:
                self.before_execution(node)
        elif record.msg == FINISHED:
            # The number may be another thread's next.
            self._spoken_of.pop(thread, None)
            spent = time.monotonic() - self._started.pop(node)
            self.seconds[node] = spent
            self.listener.node_finished(node, spent, self.how.setdefault(node, "resolved"))
        elif record.msg == FAILED:
            self._spoken_of.pop(thread, None)
            self._failed = self._failed or node
            self.listener.node_failed(node)

    @property
    def running(self) -> str | None:
        """The node that has failed, or else the last of those under way."""
        return self._failed or next(reversed(self._started), None)
