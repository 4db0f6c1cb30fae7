"""Deals records to shards through files, so that no runner has to keep a split's pixels.

Beam's in-memory runner keeps whatever passes a GroupByKey; here only references do.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import apache_beam as beam
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindows

from schema import contract

# Held by a worker before they are written: about 500 transformed images.
_HELD_BYTES: Final = 32 << 20
_SHA256_PREFIX: Final = 8
_LENGTH: Final = struct.Struct("<Q")


class Segment(NamedTuple):
    """Records of one shard, one behind the other, in a file with other shards'.

    Attributes:
        path: of the file.
        offset, length: in bytes.
    """

    path: str
    offset: int
    length: int


class Spill(beam.DoFn):
    """Transformed records -> (shard, Segment), the records written to a folder.

    What a failed bundle leaves there, nothing refers to.
    """

    def __init__(self, folder: str, shards: int) -> None:
        """Keep both.

        Args:
            folder: exists, every worker sees it, and its maker removes it.
            shards: how many.
        """
        super().__init__()
        self._folder = folder
        self._shards = shards

    def start_bundle(self) -> None:
        """Start with nothing held."""
        self._held: dict[int, list[bytes]] = defaultdict(list)
        self._bytes = 0

    def process(self, record: bytes) -> Iterator[tuple[int, Segment]]:
        """Put a record into its shard, by the content hash and not by Python's own."""
        fields = tf.train.Example.FromString(record).features.feature
        digest = fields[contract.SHA256].bytes_list.value[0]
        self._held[int(digest[:_SHA256_PREFIX], 16) % self._shards].append(record)
        self._bytes += len(record)
        if self._bytes >= _HELD_BYTES:
            yield from self._flushed()

    def finish_bundle(self) -> Iterator[Any]:
        """Write what is left."""
        for segment in self._flushed():
            yield GlobalWindows.windowed_value(segment)

    def _flushed(self) -> list[tuple[int, Segment]]:
        if not self._held:
            return []
        path = os.path.join(self._folder, uuid.uuid4().hex)
        segments = []
        end = 0
        with tf.io.gfile.GFile(path, "wb") as file:
            for shard, records in self._held.items():
                start = end
                for record in records:
                    file.write(_LENGTH.pack(len(record)) + record)
                    end += _LENGTH.size + len(record)
                segments.append((shard, Segment(path, start, end - start)))
        self.start_bundle()
        return segments


def read_segments(segments: Iterable[Segment]) -> Iterator[bytes]:
    """Yield the records of all segments."""
    for path, offset, length in segments:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            content = file.read(length)
        at = 0
        while at < length:
            (size,) = _LENGTH.unpack_from(content, at)
            at += _LENGTH.size
            yield content[at : at + size]
            at += size
