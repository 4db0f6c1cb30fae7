"""The queue on the disk: each instance once, whatever happens to the process.

An instance goes: waiting → answered → done, or to failed. Where it stands is a row of SQLite (WAL,
each commit synchronised); images and results are files beside it. A file is durable before the row
that names it, and goes after the row that lets it go. So a kill can only leave a file without a
row, which the next start takes away. Rows of what is done stay, as the memory of what was taken.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from common.durable import write_durably
from common.errors import InputError
from serving.dicom_node.queue_file import DATABASE, HELD, counts_in, opened, transaction

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID: Final = 64
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Added = Literal["new", "again", "repeated", "differs"]


class QueueFullError(Exception):
    """There is no room: by the queue's limits, or on the disk."""


class BadUidError(ValueError):
    """An instance's UID is none by PS3.5, 9.1, so it can't be told from others."""


@dataclass(frozen=True)
class Item:
    """An instance of the queue, with what is to be done next.

    Attributes:
        uid: SOP Instance UID.
        tries: that were begun before.
        image: its file.
        results: UIDs and files that the peer doesn't have yet, in order.
    """

    uid: str
    tries: int
    image: Path
    results: tuple[tuple[str, Path], ...] = ()


def is_uid(text: str) -> bool:
    """Say whether a text is a UID, and so can name a file."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


class DiskQueue:
    """The queue of one node, which holds its folder alone.

    All methods may be called from any thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_instances: int,
        max_bytes: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the queue, and take away what a kill left.

        Args:
            folder: of the queue; made where it isn't there, for its user alone.
            max_instances: that may wait at once.
            max_bytes: of all that waits: images and results.
            now: seconds since 1970.

        Raises:
            InputError: another process has it, it can't be written, or is of another version.
        """
        self._folder, self._now = folder, now
        self._max_instances, self._max_bytes = max_instances, max_bytes
        self._lock = threading.RLock()
        self._images, self._results = folder / "images", folder / "results"
        self._scratch = folder / "partial"
        try:
            for part in (folder, self._images, self._results, self._scratch):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._alone = (folder / "lock").open("a")
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._alone.close()
            raise InputError(f"queue: {folder} is held by another node, which runs.") from error
        except OSError as error:
            raise InputError(f"queue: {folder} can't be written: {error.strerror}.") from error
        self._database = opened(folder / DATABASE)
        self._clean_up()

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self._database.close()
            self._alone.close()

    def add(self, uid: str, content: bytes, sender: str) -> Added:
        """Take an instance; when this returns, it is on the disk.

        One that failed before is tried anew, if it was never answered.

        Args:
            uid: SOP Instance UID.
            content: of a DICOM file.
            sender: for the list of failures.

        Returns:
            `new` or `again` where it will be answered, `repeated` where it is known already,
            `differs` where it is known with other bytes: the first ones count.

        Raises:
            QueueFullError: nothing was taken, and it may be sent again later.
            BadUidError: the UID is none.
        """
        if not is_uid(uid):
            raise BadUidError(f"{uid[:80]!r} is no UID")
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            known = self._database.execute(
                "SELECT state, sha256, EXISTS(SELECT 1 FROM results WHERE instance = uid) "
                "FROM instances WHERE uid = ?",
                (uid,),
            ).fetchone()
            if known is not None and (known[0] != "failed" or known[2]):
                return "repeated" if known[1] == digest else "differs"
            self._require_room(len(content))
            try:
                write_durably(self._image(uid), content, self._scratch)
                with self._transaction() as database:
                    database.execute(
                        "INSERT INTO instances(uid, sha256, bytes, sender, state, since, number) "
                        "VALUES (?, ?, ?, ?, 'waiting', ?, "
                        "(SELECT COALESCE(MAX(number), 0) + 1 FROM instances)) "
                        "ON CONFLICT(uid) DO UPDATE SET sha256 = excluded.sha256, "
                        "bytes = excluded.bytes, sender = excluded.sender, state = 'waiting', "
                        "since = excluded.since, number = excluded.number, tries = 0, due = 0, "
                        "why = ''",
                        (uid, digest, len(content), sender, self._now()),
                    )
            except OSError as error:
                if error.errno in _FULL_DISK:
                    raise QueueFullError(f"the disk is full: {error.strerror}") from error
                raise
            except sqlite3.OperationalError as error:
                if "full" in str(error):
                    raise QueueFullError(f"the disk is full: {error}") from error
                raise
        return "new" if known is None else "again"

    def require_room(self, size: int) -> None:
        """Make sure that an instance of so many bytes would be taken now.

        Raises:
            QueueFullError: it wouldn't.
        """
        with self._lock:
            self._require_room(size)

    def known(self, uids: Sequence[str]) -> set[str]:
        """Tell which of some instances were taken, whatever became of them."""
        found: set[str] = set()
        with self._lock:
            for start in range(0, len(uids), 500):
                part = uids[start : start + 500]
                marks = ",".join("?" * len(part))
                rows = self._database.execute(
                    f"SELECT uid FROM instances WHERE uid IN ({marks})", part
                )
                found.update(uid for (uid,) in rows)
        return found

    def begin_answer(self) -> Item | None:
        """Take the next that waits for an answer, oldest first; it counts as a try from now on."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT uid, tries FROM instances WHERE state = 'waiting' AND due <= ? "
                "ORDER BY number LIMIT 1",
                (self._now(),),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE instances SET tries = tries + 1 WHERE uid = ?", (row[0],))
        return Item(row[0], row[1], self._image(row[0]))

    def answer(self, uid: str, results: Mapping[str, bytes]) -> None:
        """Take the results of a waiting instance; its image is let go.

        Args:
            uid: of the instance.
            results: UID -> content of a DICOM file, in the order in which to send them.
        """
        for name, content in results.items():
            write_durably(self._result(name), content, self._scratch)
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE instances SET state = 'answered', tries = 0, due = 0, since = ? "
                "WHERE uid = ? AND state = 'waiting'",
                (self._now(), uid),
            ).rowcount
            if changed:
                database.executemany(
                    "INSERT INTO results(uid, instance, bytes, position) VALUES (?, ?, ?, ?)",
                    [(name, uid, len(data), at) for at, (name, data) in enumerate(results.items())],
                )
        if changed:
            self._image(uid).unlink(missing_ok=True)

    def unsent(self, most: int) -> list[Item]:
        """List answered instances whose results are due to be sent, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT uid, tries FROM instances WHERE state = 'answered' AND due <= ? "
                "ORDER BY number LIMIT ?",
                (self._now(), most),
            ).fetchall()
            return [self._with_results(uid, tries) for uid, tries in rows]

    def sent(self, result: str) -> None:
        """Note that the peer has a result; with its last one, an instance is done."""
        with self._transaction() as database:
            database.execute("UPDATE results SET sent = 1 WHERE uid = ?", (result,))
            database.execute(
                "UPDATE instances SET state = 'done', since = ?, why = '' "
                "WHERE uid = (SELECT instance FROM results WHERE uid = ?) "
                "AND NOT EXISTS (SELECT 1 FROM results WHERE instance = instances.uid "
                "AND sent = 0)",
                (self._now(), result),
            )
        self._result(result).unlink(missing_ok=True)

    def later(self, uid: str, why: str, wait_s: float) -> None:
        """Have an instance wait before its next try, which may be the same step again."""
        with self._transaction() as database:
            # An answer's try was counted when it began.
            database.execute(
                "UPDATE instances SET due = ?, why = ?, tries = tries + (state = 'answered') "
                "WHERE uid = ?",
                (self._now() + wait_s, why, uid),
            )

    def fail(self, uid: str, why: str) -> None:
        """Give an instance up. Results that are there stay, for `retry_failures`."""
        with self._transaction() as database:
            database.execute(
                "UPDATE instances SET state = 'failed', why = ?, since = ? "
                "WHERE uid = ? AND state IN ('waiting', 'answered')",
                (why, self._now(), uid),
            )
        self._image(uid).unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Count the instances by their state; `held` and `held_bytes` are what the limits see."""
        with self._lock:
            return counts_in(self._database)

    def _with_results(self, uid: str, tries: int) -> Item:
        rows = self._database.execute(
            "SELECT uid FROM results WHERE instance = ? AND sent = 0 ORDER BY position", (uid,)
        )
        results = tuple((name, self._result(name)) for (name,) in rows)
        return Item(uid, tries, self._image(uid), results)

    def _image(self, uid: str) -> Path:
        return self._images / f"{uid}.dcm"

    def _result(self, uid: str) -> Path:
        return self._results / f"{uid}.dcm"

    def _require_room(self, size: int) -> None:
        count, held = self._database.execute(HELD).fetchone()
        if count >= self._max_instances:
            raise QueueFullError(f"{count} instances wait, as many as may")
        if held + size > self._max_bytes:
            raise QueueFullError(f"{held} bytes wait, of {self._max_bytes} that may")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._database) as database:
            yield database

    def _clean_up(self) -> None:
        """Remove files without a row that needs them."""
        needed = {
            self._images: "SELECT uid FROM instances WHERE state = 'waiting'",
            self._results: "SELECT uid FROM results WHERE sent = 0",
        }
        for folder, query in needed.items():
            names = {f"{uid}.dcm" for (uid,) in self._database.execute(query)}
            for file in folder.iterdir():
                if file.name not in names:
                    file.unlink()
        for file in self._scratch.iterdir():
            file.unlink()
