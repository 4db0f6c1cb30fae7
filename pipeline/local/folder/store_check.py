"""Looks at the metadata store before TFX does, whose answer to a bad one is SQL.

Plain SQLite, read where it lies: the store's own library makes what isn't there, and explains
nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.metadata_store import open_store

_UNCHANGED: Final = "Nothing was changed."
# How long another program may hold the file; `cxr runs` holds it for milliseconds.
_PATIENCE_SECONDS: Final = 10.0


@contextlib.contextmanager
def sqlite_of(layout: OutputLayout) -> Iterator[sqlite3.Connection]:
    """Connect to the store's file, which has to exist.

    SQLite takes back what a killed run left half-written there. What the block changes is written
    when it ends, all of it or nothing.

    Args:
        layout: of the output folder.

    Raises:
        InputError: the file can't be read or written.
    """
    try:
        connection = sqlite3.connect(
            f"{layout.metadata.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_SECONDS
        )
        with contextlib.closing(connection), connection:
            yield connection
    except sqlite3.Error as error:
        raise InputError(_sentence(layout, str(error))) from error


def _sentence(layout: OutputLayout, reason: str) -> str:
    if "locked" in reason:
        return (
            f"output: {layout.metadata} is held by another program ({reason}). Wait until it is "
            f"done. {_UNCHANGED}"
        )
    if "readonly" in reason:
        return f"output: {layout.metadata} can't be written to ({reason}). {_UNCHANGED}"
    return (
        f"output: {layout.metadata} is damaged ({reason}). Put a copy of it back, or move it away: "
        f"the next run then begins a new store beside what is there. {_UNCHANGED}"
    )


def has_store(layout: OutputLayout) -> bool:
    """Return whether there is a store. An empty file is none: SQLite makes one before it writes."""
    path = layout.metadata
    if path.exists() and not path.is_file():
        raise InputError(f"output: {path} is no file. Move it away. {_UNCHANGED}")
    return path.is_file() and path.stat().st_size > 0


def check_store(layout: OutputLayout) -> None:
    """Check that the store can be used.

    Args:
        layout: of an output folder that has one.

    Raises:
        InputError: it is damaged, no metadata store, or of another version; with what to do.
    """
    with sqlite_of(layout) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise InputError(_sentence(layout, " ".join(found.split())[:200]))
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'MLMDEnv'")
        if tables.fetchone() is None:
            # A file that was cut within its first page looks so, too.
            raise InputError(_sentence(layout, "it holds no metadata store"))
        row = connection.execute("SELECT schema_version FROM MLMDEnv").fetchone()
    try:
        open_store(layout)
    # MLMD raises RuntimeError for what it can't open, and its own errors for what it can't read.
    except (RuntimeError, mlmd.errors.StatusError) as error:
        schema = row[0] if row else "unknown"
        raise InputError(
            f"output: {layout.metadata} is a metadata store of another version: its schema is "
            f"{schema}, which ml_metadata {version('ml-metadata')} can't use. Run with the version "
            f"that wrote it, or give another folder as --output. {_UNCHANGED}"
        ) from error


def make_store(layout: OutputLayout) -> None:
    """Make an empty store, as TFX would."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(layout.metadata)
    config.sqlite.connection_mode = (
        metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    )
    mlmd.MetadataStore(config)


def highest_folder(layout: OutputLayout) -> int:
    """Find the highest number of an execution that has a folder; 0 where none has."""
    folders = (
        folder.name
        for pattern in ("*/*/*", "*/.system/executor_execution/*")
        for folder in layout.artifacts.glob(pattern)
    )
    return max((int(name) for name in folders if name.isdecimal()), default=0)


def number_above(layout: OutputLayout, highest: int) -> int | None:
    """Make the store number its next execution above a number.

    TFX names folders by the number of an execution. A store that began anew would give numbers
    out again whose folders are there. SQLite keeps the highest number that it gave in a table of
    its own, which may be written to (https://sqlite.org/autoinc.html).

    Args:
        layout: of an output folder that has a store.
        highest: number that is taken.

    Returns:
        The highest number that the store knew of, where that was lower; else None.
    """
    with sqlite_of(layout) as connection:
        row = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'Execution'"
        ).fetchone()
        if highest <= (row[0] if row else 0):
            return None
        if row is None:
            connection.execute("INSERT INTO sqlite_sequence VALUES ('Execution', ?)", (highest,))
            return 0
        connection.execute(
            "UPDATE sqlite_sequence SET seq = ? WHERE name = 'Execution'", (highest,)
        )
        return int(row[0])
