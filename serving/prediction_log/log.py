"""The prediction log: a bounded queue, and one thread that writes what is in it.

A request costs no more than a draw and a place in the queue. What the thread can't write in time,
because the disk is slow or full, is dropped and counted; no request waits for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.core.observing import Asked
from serving.prediction_log.image_facts import Measure
from serving.prediction_log.records import record
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.prediction_log.shards import Shards
from serving.protocol.tensors import Tensors

LOGGER: Final = logging.getLogger("cxr.serving")
# Why a record was dropped: the queue was full, the disk took none, it couldn't be put together.
QUEUE: Final = "queue"
DISK: Final = "disk"
RECORD: Final = "record"
REASONS: Final = (QUEUE, DISK, RECORD)
_WRITTEN_TOGETHER: Final = 64
# A record waits as long for others: a thread that wakes for each, and writes each alone, costs
# requests more than what it writes.
_GATHER_SECONDS: Final = 0.1
# Without anything to write, between looks at the shards' age.
_LOOK_SECONDS: Final = 1.0
# Between two lines about dropped records.
_SAY_SECONDS: Final = 60.0


@dataclass(frozen=True, eq=False)
class _Waiting:
    asked: Asked
    outputs: Tensors
    target: LogTarget
    seconds: float
    size: int


class PredictionLog:
    """Logs what is answered, for the models that have a target; an `Observer`."""

    def __init__(self, settings: LogSettings, clock: Callable[[], float] = time.time) -> None:
        """Start the thread.

        Args:
            settings: what is logged, and within which bounds.
            clock: seconds since the epoch.
        """
        self._settings = settings
        self._clock = clock
        self._draw = random.Random(settings.seed)
        self._measure = Measure(settings.statistics_per_second)
        self._shards: dict[Path, Shards] = {}
        self._failed_until: dict[Path, float] = {}
        self._unsafe: Counter[Path] = Counter()
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._is_open = True
        self._written = 0
        self._dropped: Counter[str] = Counter()
        self._said: Counter[str] = Counter()
        self._said_at = -_SAY_SECONDS
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Records that are on the disk, as far as the system says."""
        return self._written

    @property
    def waiting(self) -> int:
        """Records that wait to be written."""
        return len(self._waiting)

    @property
    def removed(self) -> int:
        """Shards that had to go for the bound in all."""
        return sum(shards.removed for shards in list(self._shards.values()))

    def dropped(self) -> dict[str, int]:
        """Count the records that were drawn and not written, by reason; each of `REASONS`."""
        return {reason: self._dropped[reason] for reason in REASONS}

    def __call__(self, asked: Asked, outputs: Tensors) -> None:
        """Take a request and its answer, if the draw says so; never waits."""
        target = asked.lent.logged
        if target is None or self._draw.random() >= target.rate:
            return
        item = _Waiting(asked, outputs, target, self._clock(), _size(asked))
        with self._changed:
            full = (
                len(self._waiting) >= self._settings.queued_records
                or self._size + item.size > self._settings.queued_bytes
            )
            if full or not self._is_open:
                self._dropped[QUEUE] += 1
                return
            self._waiting.append(item)
            self._size += item.size
            # The thread sleeps until the first, and then until there are enough.
            if len(self._waiting) == 1 or self._has_enough():
                self._changed.notify()

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits, close the shards, and end the thread.

        Args:
            seconds: after which what still waits is dropped.
        """
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            self._dropped[QUEUE] += len(self._waiting)
            self._waiting.clear()
        self._say(at_once=True)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and self._is_open:
                    self._changed.wait(_LOOK_SECONDS)
                if self._waiting:
                    self._changed.wait_for(self._has_enough, _GATHER_SECONDS)
                items = [
                    self._waiting.popleft()
                    for _ in range(min(_WRITTEN_TOGETHER, len(self._waiting)))
                ]
                self._size -= sum(item.size for item in items)
                ends = not self._is_open and not items
            for item in items:
                self._write(item)
            for prefix, shards in list(self._shards.items()):
                # Between two looks all is closed, where the thread ends.
                self._try(prefix, shards.close if ends else shards.flush)
                self._try(prefix, shards.close_if_old)
            self._say()
            if ends:
                return

    def _has_enough(self) -> bool:
        bound = min(_WRITTEN_TOGETHER, self._settings.queued_records // 2)
        many = len(self._waiting) >= bound or 2 * self._size >= self._settings.queued_bytes
        return many or not self._is_open

    def _write(self, item: _Waiting) -> None:
        prefix = item.target.prefix
        if time.monotonic() < self._failed_until.get(prefix, 0.0):
            self._dropped[DISK] += 1
            return
        try:
            serialized = record(
                item.asked, item.outputs, item.target, self._settings, self._measure, item.seconds
            )
        # Whatever it is, the next one may be well.
        except Exception:
            if not self._dropped[RECORD]:
                LOGGER.exception("prediction log: a record can't be put together")
            self._dropped[RECORD] += 1
            return
        shards = self._shards.get(prefix)
        if shards is None:
            shards = self._shards[prefix] = Shards(prefix, self._settings, self._clock)
        self._unsafe[prefix] += 1
        self._try(prefix, lambda: shards.write(serialized), flushes=False)

    def _try(self, prefix: Path, act: Callable[[], None], *, flushes: bool = True) -> None:
        """Do something with a prefix's shards; where the disk fails, leave it alone for a while."""
        try:
            act()
        except OSError as error:
            self._dropped[DISK] += self._unsafe.pop(prefix, 0)
            self._failed_until[prefix] = time.monotonic() + self._settings.retry_seconds
            LOGGER.error("prediction log: %s-…: %s; requests go on", prefix, error)
            return
        if flushes:
            self._written += self._unsafe.pop(prefix, 0)

    def _say(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        new = self._dropped - self._said
        if not new or (now - self._said_at < _SAY_SECONDS and not at_once):
            return
        self._said, self._said_at = Counter(self._dropped), now
        reasons = ", ".join(f"{count} for the {reason}" for reason, count in sorted(new.items()))
        LOGGER.warning("prediction log: dropped %s; %d written so far", reasons, self._written)


def _size(asked: Asked) -> int:
    """Count the bytes that waiting holds in memory."""
    size = 0
    for name, sent in asked.inputs.items():
        ready = asked.ready[name]
        if sent.dtype != object:
            size += sent.nbytes
        else:
            size += sum(map(len, sent.ravel()))
            size += 0 if ready is sent else sum(map(len, ready.ravel()))
    return size
