"""The tables of a queue, and what can be asked of them while a node runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError

DATABASE: Final = "queue.sqlite3"
# Raised whenever the tables change.
_LAYOUT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS instances(
  uid TEXT PRIMARY KEY, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, sender TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'answered', 'done', 'failed')),
  since REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
  why TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_state ON instances(state, due, number);
CREATE TABLE IF NOT EXISTS results(
  uid TEXT PRIMARY KEY, instance TEXT NOT NULL REFERENCES instances(uid),
  bytes INTEGER NOT NULL, position INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS by_instance ON results(instance);
"""
# What holds room: all that has files.
HELD: Final = """
SELECT (SELECT COUNT(*) FROM instances i WHERE state IN ('waiting', 'answered')
          OR state = 'failed' AND EXISTS (SELECT 1 FROM results WHERE instance = i.uid)),
       (SELECT COALESCE(SUM(bytes), 0) FROM instances WHERE state = 'waiting')
         + (SELECT COALESCE(SUM(bytes), 0) FROM results WHERE sent = 0)
"""


@dataclass(frozen=True)
class FailedInstance:
    """An instance that failed for good.

    Attributes:
        uid: SOP Instance UID.
        sender: where it came from.
        when: seconds since 1970.
        why: it failed.
        retriable: whether its results are there still.
    """

    uid: str
    sender: str
    when: float
    why: str
    retriable: bool


def failures(folder: Path) -> list[FailedInstance]:
    """List the instances that failed, latest first; the node may run meanwhile.

    Raises:
        InputError: there is no queue in that folder.
    """
    with contextlib.closing(_existing(folder)) as database:
        rows = database.execute(
            "SELECT uid, sender, since, why, "
            "EXISTS (SELECT 1 FROM results WHERE instance = instances.uid) "
            "FROM instances WHERE state = 'failed' ORDER BY since DESC, uid"
        ).fetchall()
    return [
        FailedInstance(uid, sender, when, why, bool(has)) for uid, sender, when, why, has in rows
    ]


def counts(folder: Path) -> dict[str, int]:
    """Count the instances by their state; the node may run meanwhile.

    Raises:
        InputError: there is no queue in that folder.
    """
    with contextlib.closing(_existing(folder)) as database:
        return counts_in(database)


def retry_failures(folder: Path) -> int:
    """Have results sent again that failed for good; the node may run meanwhile.

    Returns:
        How many instances. The others have no results; they can only be sent to the node again.

    Raises:
        InputError: there is no queue in that folder.
    """
    with contextlib.closing(_existing(folder)) as database, transaction(database):
        return database.execute(
            "UPDATE instances SET state = 'answered', tries = 0, due = 0, why = '' "
            "WHERE state = 'failed' AND EXISTS "
            "(SELECT 1 FROM results WHERE instance = instances.uid)"
        ).rowcount


def counts_in(database: sqlite3.Connection) -> dict[str, int]:
    """Count what is in an open queue."""
    found = dict.fromkeys(("waiting", "answered", "done", "failed"), 0)
    found |= dict(database.execute("SELECT state, COUNT(*) FROM instances GROUP BY state"))
    found["held"], found["held_bytes"] = database.execute(HELD).fetchone()
    return found


def _existing(folder: Path) -> sqlite3.Connection:
    if not (folder / DATABASE).is_file():
        raise InputError(f"queue: {folder} holds no queue; start the node first.")
    return opened(folder / DATABASE)


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Have changes on the disk together, or none of them."""
    # At once for writing: two processes that both read first could not both write then.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        # A full disk has rolled back already.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def opened(file: Path) -> sqlite3.Connection:
    """Open the database of a queue; make it where it isn't there.

    Raises:
        InputError: it can't be read, or is of another version.
    """
    try:
        database = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        # Names of senders are in it.
        file.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        # In WAL, NORMAL may lose the last commits with the power.
        database.execute("PRAGMA synchronous = FULL")
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout not in (0, _LAYOUT):
            raise InputError(f"queue: {file} is of another version of this program ({layout}).")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {_LAYOUT}")
    except sqlite3.Error as error:
        raise InputError(f"queue: {file} can't be read: {error}.") from error
    return database
