"""TFRecord shards with one prefix: closed by size and age, and bounded in all.

A shard is called `PREFIX-TIME-WRITER-NUMBER.tfrecord`, and `.open` behind that while it is being
written. So whoever looks for `*.tfrecord` finds whole files only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import tensorflow as tf

from serving.prediction_log.settings import LogSettings

LOGGER: Final = logging.getLogger("cxr.serving")
SUFFIX: Final = ".tfrecord"
OPEN: Final = ".open"
# Around a record: its length, and a checksum of both.
FRAME: Final = 16


class Shards:
    """The writer of one prefix; used by one thread.

    Attributes:
        removed: shards that had to go for the bound in all.
    """

    def __init__(
        self,
        prefix: Path,
        settings: LogSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet.

        Args:
            prefix: of the shards' paths.
            settings: with the bounds.
            clock: seconds since the epoch.
        """
        self._prefix = prefix
        self._settings = settings
        self._clock = clock
        # Not the process' number, which servers in containers have in common.
        self._name = secrets.token_hex(4)
        self._number = 0
        self._path: Path | None = None
        self._writer: tf.io.TFRecordWriter | None = None
        # Bytes that were handed over, and those of them that are surely in the file.
        self._size = self._safe = 0
        self._began = 0.0
        self.removed = 0

    def write(self, serialized: bytes) -> None:
        """Write a record.

        Raises:
            OSError: the disk is full, or fails otherwise. The shard ends with the record before.
        """
        size = len(serialized) + FRAME
        if self._size + size > self._settings.shard_bytes:
            self.close()
        with self._mended():
            if self._writer is None:
                self._open(size)
            assert self._writer is not None
            self._writer.write(serialized)
            self._size += size

    def flush(self) -> None:
        """Hand what was written to the system, so that the end of this process loses none of it.

        Raises:
            OSError: as of `write`, and records since the last flush are lost.
        """
        if self._writer is not None:
            with self._mended():
                self._writer.flush()
                self._safe = self._size

    def close_if_old(self) -> None:
        """Close a shard whose time is over.

        Raises:
            OSError: as of `flush`.
        """
        # A clock that was put back must not leave a shard open for days.
        age = abs(self._clock() - self._began)
        if self._writer is not None and age >= self._settings.shard_seconds:
            self.close()

    def close(self) -> None:
        """Close the shard, if one is open, and give it its final name.

        Raises:
            OSError: as of `flush`.
        """
        if self._writer is not None:
            self.flush()
            self._finish()

    def _open(self, first: int) -> None:
        self._make_room(first)
        now = self._clock()
        self._number += 1
        stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        name = f"{self._prefix.name}-{stamp}-{self._name}-{self._number:05d}{SUFFIX}{OPEN}"
        path = self._prefix.with_name(name)
        # Readable by its owner alone: it says who was ill of what, if only by digests.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._path, self._began = path, now
        self._size = self._safe = 0
        self._writer = tf.io.TFRecordWriter(str(path))

    def _finish(self) -> None:
        path, self._writer, self._path = self._path, None, None
        if path is None:
            return
        if path.stat().st_size:
            path.rename(path.with_name(path.name.removesuffix(OPEN)))
        else:
            path.unlink()

    @contextlib.contextmanager
    def _mended(self) -> Iterator[None]:
        """After a failure, cut the shard to its last whole flush, and let the next one be new."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError, tf.errors.OpError):
                if self._writer is not None:
                    self._writer.close()
            with contextlib.suppress(OSError):
                if self._path is not None:
                    os.truncate(self._path, self._safe)
                self._finish()
            self._writer = self._path = None
            raise OSError(str(getattr(error, "message", error))) from error

    def _make_room(self, first: int) -> None:
        """Remove the oldest shards, until another one fits."""
        found = sorted(self._all(), key=lambda item: (item[1].st_mtime, item[0].name))
        total = sum(stat.st_size for _, stat in found)
        allowed = self._settings.total_bytes - max(self._settings.shard_bytes, first)
        for path, stat in found:
            if total <= allowed:
                return
            if path.name.endswith(OPEN) and not self._abandoned(stat):
                continue
            with contextlib.suppress(FileNotFoundError):  # another server was faster
                path.unlink()
            total -= stat.st_size
            self.removed += 1
            LOGGER.warning("prediction log: %s had to go for newer ones", path)

    def _all(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in shards_of(self._prefix):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, path.stat()))
        return found

    def _abandoned(self, stat: os.stat_result) -> bool:
        """Return whether whoever wrote an open shard has gone: else it would have been closed."""
        return abs(self._clock() - stat.st_mtime) > 2 * self._settings.shard_seconds


def shards_of(prefix: Path) -> list[Path]:
    """List the shards with a prefix, by name; those that are being written, too."""
    begin = f"{prefix.name}-"
    return sorted(
        path
        for path in prefix.parent.iterdir()
        if path.name.startswith(begin) and path.name.endswith((SUFFIX, SUFFIX + OPEN))
    )
