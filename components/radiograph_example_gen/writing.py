"""Selected images → shards of tf.Examples. Only names and numbers travel through Beam."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.radiograph_example_gen.converted import NOTHING_KEPT, ConvertedImages
from components.radiograph_example_gen.inspection import Inspection, read_regular_file
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.readers import reader_of
from components.radiograph_example_gen.table_slices import Slicing
from models.rendering import DEFAULT, Rendering
from models.table_values import Value
from schema import contract
from schema.table import FINITE_PREFIX, RAW_PREFIX

SHARD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """One image to write, without its bytes; `further` holds each further column.

    `group` is as `contract.GROUP`; `table` is what models take, as `Row` has it, and `slices` in
    which part of each such column the image is.
    """

    inspection: Inspection
    label: int
    group: str
    text: Mapping[str, str]
    numbers: Mapping[str, float]
    further: Mapping[str, str]
    table: Mapping[str, Value] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard:
    """One file to write; `path` is final, `scratch` a folder on the same file system."""

    path: str
    scratch: str
    records: tuple[Record, ...]

    def to_json(self) -> str:
        """Write the form in which a shard passes through Beam."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        records = tuple(
            Record(Inspection(**item.pop("inspection")), **item) for item in raw["records"]
        )
        return cls(raw["path"], raw["scratch"], records)


def make_record(
    inspection: Inspection,
    row: Row | None,
    label: int,
    columns: Sequence[str] = (),
    *,
    group: str,
    slicing: Slicing | None = None,
) -> Record:
    """Join an image with its metadata; without any, it is unknown in all `columns`."""
    slices = slicing.slices_of(row.table if row else {}) if slicing else {}
    if row is None:
        unknown = dict.fromkeys(columns, contract.UNKNOWN)
        return Record(inspection, label, group, {}, {}, unknown, slices=slices)
    return Record(inspection, label, group, row.text, row.numbers, row.further, row.table, slices)


def plan_shards(
    records: Sequence[Record], folder: str, scratch: str, shard_bytes: int = SHARD_BYTES
) -> list[Shard]:
    """Cut `records`, in their order, into files of about `shard_bytes` bytes of images."""
    parts: list[list[Record]] = []
    filled = 0
    for record in records:
        if not parts or filled + record.inspection.size > shard_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(record)
        filled += record.inspection.size
    return [
        Shard(
            f"{folder}/data_tfrecord-{index:05d}-of-{len(parts):05d}.gz",
            scratch,
            tuple(part),
        )
        for index, part in enumerate(parts)
    ]


def write_shard(
    data_dir: str,
    shard: Shard,
    rendering: Rendering = DEFAULT,
    converted: ConvertedImages = NOTHING_KEPT,
) -> str:
    """Write one shard, holding one image in memory at a time.

    The records are gzip with stored blocks: PNG does not compress again, and deflate
    runs at 20 MB/s. The file appears under its final name when it is complete, so a
    bundle that Beam runs twice leaves one good file.

    Args:
        data_dir: where the images' paths start.
        shard: to write.
        rendering: of DICOM.
        converted: has what the inspection made of images, perhaps; what was used of it is deleted.

    Returns:
        Empty, or which image is no longer what was inspected.
    """
    temporary = f"{shard.scratch}/{uuid.uuid4().hex}.gz"
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)
    used: list[Path] = []
    with tf.io.TFRecordWriter(temporary, options=options) as writer:
        for record in shard.records:
            source = Path(data_dir) / record.inspection.path
            found = converted.find(record.inspection.file_digest, source)
            if found:
                used.append(found[0])
            try:
                content = found[1] if found else _again(source, record, rendering)
            except OSError as error:
                return f"{record.inspection.path} can no longer be read: {error.strerror or error}"
            except _ChangedError:
                return f"{record.inspection.path} was changed"
            writer.write(make_example(record, content).SerializeToString(deterministic=True))
    tf.io.gfile.rename(temporary, shard.path, overwrite=True)
    for kept in used:
        kept.unlink(missing_ok=True)
    return ""


class _ChangedError(Exception):
    """A file isn't any more what was inspected."""


def _again(source: Path, record: Record, rendering: Rendering) -> bytes:
    """Read an image once more, and make of it what the examples hold.

    Raises:
        OSError: it can't be read.
        _ChangedError: it is another one.
    """
    content = read_regular_file(source)
    if hashlib.sha256(content).hexdigest() != record.inspection.file_digest:
        raise _ChangedError
    return reader_of(content).for_example(content, record.inspection.bits_stored, rendering)


def make_example(record: Record, content: bytes) -> tf.train.Example:
    """Make the features of `schema.contract`; age is absent where unknown, text is UNKNOWN."""
    inspection = record.inspection
    features: dict[str, tf.train.Feature] = {
        contract.IMAGE: _bytes(content),
        contract.LABEL: _int(record.label),
        contract.LABEL_TEXT: _text(inspection.class_name),
        contract.PATH: _text(inspection.path),
        contract.SHA256: _text(inspection.sha256),
        contract.WIDTH: _int(inspection.width),
        contract.HEIGHT: _int(inspection.height),
        contract.BYTES: _int(inspection.size),
        contract.MEAN: _float(inspection.mean),
        contract.STD: _float(inspection.std),
        contract.ENTROPY: _float(inspection.entropy),
        contract.GROUP: _text(record.group),
    }
    for column, name in contract.METADATA_TEXT_COLUMNS.items():
        features[name] = _text(record.text.get(column, contract.UNKNOWN))
    for column, name in contract.METADATA_NUMBER_COLUMNS.items():
        if column in record.numbers:
            features[name] = _float(record.numbers[column])
    for column, value in record.further.items():
        features[f"{contract.COLUMN_PREFIX}{column}"] = _text(value)
    for column, value in record.slices.items():
        features[f"{contract.TABLE_SLICE_PREFIX}{column}"] = _text(value)
    for name, of_table in record.table.items():
        if isinstance(of_table, str):
            features[f"{RAW_PREFIX}{name}"] = _text(of_table)
            continue
        features[f"{RAW_PREFIX}{name}"] = _float(of_table)
        # TFDV takes an infinity for a value out of range, and has no mean of such a column.
        if math.isfinite(of_table):
            features[f"{FINITE_PREFIX}{name}"] = _float(of_table)
    return tf.train.Example(features=tf.train.Features(feature=features))


def _bytes(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _text(value: str) -> Any:
    return _bytes(value.encode("utf-8"))


def _int(value: int) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
