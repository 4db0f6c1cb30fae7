"""Requests that wait for the same signature are computed together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from grpc import StatusCode

from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors
from serving.servables.servable import Servable


@dataclass(frozen=True, eq=False)
class _Job:
    servable: Servable
    signature: str
    inputs: Tensors
    outputs: tuple[str, ...]
    rows: int | None  # None: it can't be put together with others
    deadline: float
    answer: Future[Tensors] = field(default_factory=Future)

    def fits(self, other: _Job) -> bool:
        """Return whether both can be one batch."""
        same = self.servable is other.servable and self.signature == other.signature
        if not same or self.outputs != other.outputs or self.rows is None or other.rows is None:
            return False
        return all(
            value.shape[1:] == other.inputs[name].shape[1:] for name, value in self.inputs.items()
        )


class Batcher:
    """A queue and the threads that empty it.

    Nothing waits for a batch to fill: whatever has come while the threads were busy is
    taken together, so a lone request is answered at once.

    Attributes:
        on_batch: told how many rows are computed together, before they are.
    """

    def __init__(self, threads: int, max_rows: int, max_queue: int) -> None:
        """Start the threads.

        Args:
            threads: batches computed at once.
            max_rows: of a batch that is put together; a request of more runs alone.
            max_queue: requests that may wait.
        """
        self._max_rows = max_rows
        self._max_queue = max_queue
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._open = True
        self.on_batch: Callable[[int], None] = lambda rows: None
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def submit(
        self,
        servable: Servable,
        signature: str,
        inputs: Tensors,
        outputs: Sequence[str] = (),
        *,
        seconds: float,
    ) -> Future[Tensors]:
        """Put a request into the queue.

        Args:
            servable: that answers.
            signature: of it; empty for the default.
            inputs: that fit it.
            outputs: wanted; all where empty.
            seconds: from now on, after which no client waits for it any more.

        Returns:
            What becomes the answer. Cancelled before its turn, it is never computed.

        Raises:
            ServingError: too many wait already, or the server is closing.
        """
        rows = _rows(servable, signature, inputs)
        deadline = time.monotonic() + seconds
        job = _Job(servable, signature, inputs, tuple(outputs), rows, deadline)
        with self._changed:
            if not self._open:
                raise ServingError(StatusCode.UNAVAILABLE, "The server is shutting down")
            if len(self._waiting) >= self._max_queue:
                raise ServingError(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"{self._max_queue} requests are waiting already; try again later",
                )
            self._waiting.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if not self._open:
                        return
                    self._changed.wait()
                jobs = self._take()
            wanted = [job for job in jobs if _is_wanted(job)]
            if wanted:
                self.on_batch(sum(job.rows or 1 for job in wanted))
                _compute(wanted)

    def _take(self) -> list[_Job]:
        """Take the request that has waited longest, and what fits it."""
        first = self._waiting.popleft()
        jobs, left = [first], (self._max_rows - first.rows if first.rows else 0)
        passed_over: list[_Job] = []
        while self._waiting and left > 0:
            job = self._waiting.popleft()
            if first.fits(job) and (job.rows or 0) <= left:
                jobs.append(job)
                left -= job.rows or 0
            else:
                passed_over.append(job)
        self._waiting.extendleft(reversed(passed_over))
        return jobs


def _rows(servable: Servable, signature: str, inputs: Tensors) -> int | None:
    """Count a request's rows; None where rows aren't independent of each other.

    They are where all inputs and outputs have a first dimension of any size, and the inputs have
    the same one.
    """
    described = servable.signature(signature)
    specs = [*described.inputs.values(), *described.outputs.values()]
    if any(not spec.shape or spec.shape[0] != -1 for spec in specs):
        return None
    sizes = {len(value) for value in inputs.values() if value.ndim}
    return sizes.pop() if len(sizes) == 1 and all(v.ndim for v in inputs.values()) else None


def _is_wanted(job: _Job) -> bool:
    """Mark a request as running, unless its client has gone or its time is over."""
    if not job.answer.set_running_or_notify_cancel():
        return False
    if time.monotonic() > job.deadline:
        job.answer.set_exception(
            ServingError(StatusCode.DEADLINE_EXCEEDED, "The request waited too long for its turn")
        )
        return False
    return True


def _compute(jobs: Sequence[_Job]) -> None:
    try:
        _answer_together(jobs)
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].answer.set_exception(error)
            return
        # One bad image must not spoil its neighbours' answers.
        for job in jobs:
            _compute([job])


def _answer_together(jobs: Sequence[_Job]) -> None:
    first = jobs[0]
    together = {
        name: np.concatenate([job.inputs[name] for job in jobs]) if len(jobs) > 1 else value
        for name, value in first.inputs.items()
    }
    outputs = first.servable.run(first.signature, together, first.outputs)
    if len(jobs) == 1:
        first.answer.set_result(outputs)
        return
    ends: list[Any] = np.cumsum([job.rows for job in jobs]).tolist()
    if any(not value.ndim or len(value) != ends[-1] for value in outputs.values()):
        raise ServingError(StatusCode.INTERNAL, "the outputs aren't one a row")
    for job, end in zip(jobs, ends, strict=True):
        begin = end - (job.rows or 0)
        job.answer.set_result({name: value[begin:end] for name, value in outputs.items()})
