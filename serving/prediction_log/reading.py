"""Reads shards, up to where one is torn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from common.errors import InputError
from serving.prediction_log.shards import FRAME, OPEN, SUFFIX


@dataclass
class Reading:
    """The faults that were found beside the records; filled in while they are read.

    Attributes:
        records: that were read.
        torn: shard -> whole records before the tear.
        strange: shard -> records that are no PredictionLog.
        unread: shard -> why it can't be read at all.
    """

    records: int = 0
    torn: dict[str, int] = field(default_factory=dict)
    strange: dict[str, int] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def find_shards(place: Path) -> list[Path]:
    """Find the shards in a folder and below, by name; or take the one file that is given.

    Raises:
        InputError: there is none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(f"log: {place} is neither a folder nor a shard.")
    found = sorted(path for path in place.rglob("*") if path.name.endswith((SUFFIX, SUFFIX + OPEN)))
    if not found:
        raise InputError(
            f"log: {place} holds no shard (*{SUFFIX}); start the server with --prediction-log-dir."
        )
    return found


def read_shards(
    shards: Sequence[Path], reading: Reading
) -> Iterator[tuple[Path, prediction_log_pb2.PredictionLog]]:
    """Read the records of shards, in their order.

    A shard that is torn, as by a kill, is read up to the tear. Nothing is passed over in silence:
    what can't be read is listed.

    Args:
        shards: files.
        reading: where the rest is written down.

    Yields:
        Shard and record.
    """
    for shard in shards:
        whole = size = 0
        try:
            # Before it is read: a server may be writing on.
            wanted = shard.stat().st_size
            for tensor in tf.data.TFRecordDataset(str(shard)):
                serialized = tensor.numpy()
                whole, size = whole + 1, size + len(serialized) + FRAME
                log = _parsed(serialized)
                if log is None:
                    reading.strange[shard.name] = reading.strange.get(shard.name, 0) + 1
                    continue
                reading.records += 1
                yield shard, log
        except tf.errors.DataLossError:
            reading.torn[shard.name] = whole
        except (OSError, tf.errors.OpError) as error:
            reading.unread[shard.name] = str(getattr(error, "message", error))
        else:
            # TensorFlow 2.16 takes up to 11 bytes of a record's head for the end of the file.
            if wanted > size:
                reading.torn[shard.name] = whole


def _parsed(serialized: bytes) -> prediction_log_pb2.PredictionLog | None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(serialized)
    except DecodeError:
        return None
    return log if log.WhichOneof("log_type") and log.log_metadata.model_spec.name else None
