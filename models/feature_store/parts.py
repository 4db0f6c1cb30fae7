"""Parts of a store: files of entries that are written once and never changed.

A part has two files, `<name>.data`, the entries one behind the other, and `<name>.index`, which
says where each lies and what its checksum is. The index is written last: without it the part
doesn't count. Names are drawn, so writers need no lock: two of them write two parts. What is in
two parts is the same in both, since an entry's key is all that it depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple

import tensorflow as tf
from absl import logging

DATA: Final = ".data"
INDEX: Final = ".index"
UNFINISHED: Final = ".unfinished"
# An index that doesn't count any more, since something of its part is damaged.
DAMAGED: Final = ".damaged"

_MAGIC: Final = b"cxr-features-1\n"
# Key, offset, length, checksum.
_ROW: Final = struct.Struct("<32sQQ32s")
_CHECKSUM: Final = hashlib.sha256().digest_size
# What a kill costs at most: the entries of one part.
_PART_ENTRIES: Final = 1024
_PART_BYTES: Final = 64 << 20
_OPEN_FILES: Final = 32


class Entry(NamedTuple):
    """The place of an entry.

    Attributes:
        part: path of the part, without an ending.
        offset, length: in its data, in bytes.
        checksum: SHA-256 of the content.
    """

    part: str
    offset: int
    length: int
    checksum: bytes


class PartWriter:
    """A writer of entries, which are in the store as soon as their part is full, or at the end.

    An exception ends it like any other end: each entry that was added is whole.
    """

    def __init__(self, folder: str) -> None:
        """Write nothing yet.

        Args:
            folder: of the network; exists.
        """
        self._folder = folder
        self._file: Any = None
        self._stem = ""
        self._rows: list[bytes] = []
        self._size = 0
        self._added: set[bytes] = set()

    def __enter__(self) -> PartWriter:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the part that is under way."""
        self._finish()

    def add(self, key: bytes, content: bytes) -> None:
        """Add an entry; one that this writer has added already isn't written again."""
        if key in self._added:
            return
        if self._file is None:
            self._stem = os.path.join(self._folder, uuid.uuid4().hex)
            self._file = tf.io.gfile.GFile(self._stem + DATA + UNFINISHED, "wb")
        self._file.write(content)
        checksum = hashlib.sha256(content).digest()
        self._rows.append(_ROW.pack(key, self._size, len(content), checksum))
        self._size += len(content)
        self._added.add(key)
        if len(self._rows) >= _PART_ENTRIES or self._size >= _PART_BYTES:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        self._file.close()
        tf.io.gfile.rename(self._stem + DATA + UNFINISHED, self._stem + DATA)
        content = _MAGIC + b"".join(self._rows)
        unfinished = self._stem + INDEX + UNFINISHED
        with tf.io.gfile.GFile(unfinished, "wb") as index:
            index.write(content + hashlib.sha256(content).digest())
        tf.io.gfile.rename(unfinished, self._stem + INDEX)
        self._file, self._rows, self._size = None, [], 0


class PartReader:
    """A reader of entries, which keeps some files open."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._open: OrderedDict[str, Any] = OrderedDict()

    def __enter__(self) -> PartReader:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        while self._open:
            self._open.popitem()[1].close()

    def read(self, entry: Entry) -> bytes | None:
        """Return an entry's content; None where it is damaged or its file is gone."""
        try:
            file = self._file(entry.part)
            file.seek(entry.offset)
            content: bytes = file.read(entry.length)
        except tf.errors.OpError as error:
            logging.warning("%s can't be read: %s", entry.part + DATA, error)
            return None
        return content if hashlib.sha256(content).digest() == entry.checksum else None

    def _file(self, part: str) -> Any:
        if part not in self._open:
            while len(self._open) >= _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[part] = tf.io.gfile.GFile(part + DATA, "rb")
        self._open.move_to_end(part)
        return self._open[part]


def find(folder: str, wanted: Collection[bytes]) -> dict[bytes, Entry]:
    """Look entries up.

    Args:
        folder: of the network; needn't exist.
        wanted: their keys, a set; those alone are held in memory.

    Returns:
        Key -> where it is. Of what is in several parts, the first by name.
    """
    found: dict[bytes, Entry] = {}
    for part in parts_of(folder):
        for key, entry in read_index(part):
            if key in wanted:
                found.setdefault(key, entry)
    return found


def parts_of(folder: str) -> list[str]:
    """List the parts that count, by name; paths without an ending."""
    if not tf.io.gfile.isdir(folder):
        return []
    names = sorted(name for name in tf.io.gfile.listdir(folder) if name.endswith(INDEX))
    return [os.path.join(folder, name.removesuffix(INDEX)) for name in names]


def read_index(part: str, *, mend: bool = True) -> Iterator[tuple[bytes, Entry]]:
    """Yield key and place of each entry; of a damaged index none.

    Args:
        part: path without an ending.
        mend: set the part aside where its index is damaged.
    """
    try:
        with tf.io.gfile.GFile(part + INDEX, "rb") as file:
            content: bytes = file.read()
    except tf.errors.NotFoundError:
        # Somebody set it aside, or removed it, since the folder was listed.
        return
    content, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
    if not content.startswith(_MAGIC) or hashlib.sha256(content).digest() != checksum:
        if mend:
            set_aside(part)
        return
    for key, offset, length, of_entry in _ROW.iter_unpack(content[len(_MAGIC) :]):
        yield key, Entry(part, offset, length, of_entry)


def set_aside(part: str) -> None:
    """Have a part count no more, and say so. What was in it is computed again when it is needed."""
    logging.warning("%s is damaged: what was in it is computed again.", part + DATA)
    # Not there where another reader was faster.
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.rename(part + INDEX, part + DAMAGED, overwrite=True)
