"""The places where executors run: the main thread, and processes kept beside it.

Such a process needs TensorFlow and TFX, whose import takes seconds. `Spares` are forked from a
process that has imported both and done nothing with them yet; later, with threads and TensorFlow's
runtime in it, a process can't be forked any more, and a new one imports them itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Literal

from absl import logging

from common.errors import InputError
from common.own_files import own_file
from common.progress import PROGRESS
from pipeline.local.progress import HERE
from pipeline.local.side_by_side.process import TRIAL, Call, NodeError, serve

# For a process to end by itself once its channel is closed.
_ENDS_WITHIN_S: Final = 5.0
# For a forked process to show that it can compute; it takes less than one.
_WORKS_WITHIN_S: Final = 60.0


class StoppedError(RuntimeError):
    """The run ended before the node did."""


@dataclass(frozen=True)
class Task:
    """An executor's call that the main thread is to make.

    Attributes:
        node: whose it is.
        call: the call.
        outcome: what comes of it, for the thread that waits.
    """

    node: str
    call: Callable[[], Any]
    outcome: Future[Any] = field(default_factory=Future)

    def execute(self) -> None:
        """Make the call.

        Raises:
            BaseException: what ends the process, such as KeyboardInterrupt. All else is the
                waiting thread's.
        """
        try:
            logging.info(HERE, self.node)
            self.outcome.set_result(self.call())
        except BaseException as error:
            self.outcome.set_exception(error)
            if not isinstance(error, Exception):
                raise


class Places:
    """The places of a run, of which one node has one at a time.

    As many nodes may be under way as there are places, so one is always free for the next. A
    process is started when a node needs it, and loads TensorFlow and TFX then.
    """

    def __init__(
        self, processes: int, hand_over: Callable[[Task], None], spares: Spares | None = None
    ) -> None:
        """Start none yet.

        Args:
            processes: in all, this one included; at least 1.
            hand_over: takes a task to the main thread.
            spares: processes that are there already; they are taken first.
        """
        self._processes = processes
        self._hand_over = hand_over
        self._spares = spares
        self._lock = threading.Lock()
        # The node that has the main thread.
        self._here: Task | None = None
        self._free: list[_Process] = []
        self._all: list[_Process] = []
        self._stopped = False

    def __enter__(self) -> Places:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes; kill them where the run itself is being ended."""
        at_once = error is not None and not isinstance(error, Exception)
        with self._lock:
            self._stopped = True
            if self._here is not None and not self._here.outcome.done():
                # The main thread makes no more calls.
                self._here.outcome.set_exception(StoppedError("the run was stopped"))
        for process in self._all:
            process.end(at_once)

    def execute(self, node: str, here: Callable[[], Any], elsewhere: Callable[[], Call]) -> Any:
        """Execute a node in a free place, and wait for it.

        Args:
            node: its id.
            here: makes the call in this process.
            elsewhere: returns what another process needs for the call.

        Returns:
            What `here` returns, or the bytes of it.

        Raises:
            InputError: bad input.
            NodeError: the node failed in another process.
            StoppedError: the run ended.
        """
        with self._lock:
            if self._stopped:
                raise StoppedError("the run was stopped")
            place: Task | _Process
            if self._here is None:
                self._here = place = Task(node, here)
                self._hand_over(place)
            else:
                place = self._free.pop() if self._free else self._start()
        if isinstance(place, Task):
            try:
                return place.outcome.result()
            finally:
                with self._lock:
                    self._here = None
        answer = place.execute(elsewhere())
        with self._lock:
            self._free.append(place)
        return answer

    def _start(self) -> _Process:
        if len(self._all) >= self._processes - 1:
            raise RuntimeError("more nodes are under way than there are places")
        spare = self._spares.take() if self._spares else None
        if spare is not None and not spare.works():
            logging.warning("A process that was forked doesn't compute; another one is started.")
            spare.end(at_once=True)
            spare = None
        process = spare or _Process(self._processes)
        self._all.append(process)
        return process


class Spares:
    """Processes that are forked before there is a thread or anything of TensorFlow's to lose."""

    def __init__(self) -> None:
        """Fork none yet."""
        self._there: list[_Process] = []

    def __enter__(self) -> Spares:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End those that nobody took."""
        while process := self.take():
            process.end(at_once=True)

    def fork(self, processes: int) -> None:
        """Fork them, unless there are threads to lose; they wait, and take no time meanwhile.

        Args:
            processes: in all, this one included; at least 1.
        """
        if threading.active_count() > 1 or _tensorflow_is_at_work():
            return
        # Without the memory for it, they are started when they are needed, if ever.
        with contextlib.suppress(OSError):
            for _ in range(processes - 1):
                self._there.append(_Process(processes, "fork"))

    def take(self) -> _Process | None:
        """Return one that isn't taken yet; None where there is none."""
        return self._there.pop() if self._there else None


def _tensorflow_is_at_work() -> bool:
    """Return whether TensorFlow has begun to compute, and so has threads; also where unknown."""
    if "tensorflow" not in sys.modules:
        return False
    from tensorflow.python.eager import context

    return getattr(context.context(), "_context_handle", context) is not None


class _Process:
    """One other process, seen from here."""

    def __init__(self, processes: int, method: Literal["spawn", "fork"] = "spawn") -> None:
        context: ForkContext | SpawnContext = (
            multiprocessing.get_context("fork")
            if method == "fork"
            else multiprocessing.get_context("spawn")
        )
        self._channel: Connection
        self._channel, theirs = context.Pipe()
        self._own = contextlib.ExitStack()
        # Else neither this child nor a later one would ever find the channel closed.
        self._own.enter_context(own_file(self._channel.fileno()))
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, processes), name="cxr-node"
        )
        try:
            self._process.start()
        except OSError:
            self._own.close()
            raise
        finally:
            theirs.close()

    def works(self) -> bool:
        """Return whether a forked process computes."""
        try:
            self._channel.send(TRIAL)
            if not self._channel.poll(_WORKS_WITHIN_S):
                return False
            kind, _ = self._channel.recv()
        except (EOFError, OSError):
            return False
        return bool(kind == "done")

    def execute(self, call: Call) -> bytes:
        try:
            self._channel.send(call)
            while True:
                kind, content = self._channel.recv()
                if kind == "progress":
                    # Of the node whose thread this is.
                    logging.info(PROGRESS, *content)
                elif kind == "done":
                    return bytes(content)
                elif kind == "input error":
                    raise InputError(content)
                else:
                    raise NodeError(content)
        except (EOFError, OSError) as error:
            raise NodeError(self._how_it_ended()) from error

    def _how_it_ended(self) -> str:
        self._process.join(_ENDS_WITHIN_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return (
                f"the process that executed it was ended by {name}; if the machine ran out of "
                "memory, set `processes: 1`"
            )
        return f"the process that executed it ended (exit status {code})"

    def end(self, at_once: bool) -> None:
        self._own.close()
        self._channel.close()
        if not at_once:
            self._process.join(_ENDS_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
