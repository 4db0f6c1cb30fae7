"""The manifest folder: which image went where, what was left out, and the counts.

- `manifest.csv`: file, class, patient, sha256, split; one line an image that was chosen,
  sorted by class (in label order) and file. `patient` is empty where unknown.
- `left_out.csv`: path, kind, reason; see `discovery.Kind`.
- `summary.json`: see `Summary`.
- `image_facts.csv`: see `image_facts`.
- where the images came in spans, `span_facts.csv` and `splits/`: see `span_facts`, `kept_splits`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.listed import kept
from models.conversion import dicom
from models.rendering import DEFAULT, Rendering
from schema import contract

MANIFEST_FILE = "manifest.csv"
LEFT_OUT_FILE = "left_out.csv"
_MANIFEST_COLUMNS = ("file", "class", "patient", "sha256", "split")
_LEFT_OUT_COLUMNS = ("path", "kind", "reason")
# Rows that are written at a time.
_BLOCK = 10_000


@dataclass(frozen=True)
class Entry:
    """One line of manifest.csv."""

    file: str
    class_name: str
    patient: str
    sha256: str
    split: str


@dataclass(frozen=True)
class Summary:
    """The content of summary.json, which adds two sums: `split_totals` and `bad`.

    Attributes:
        classes: names in label order.
        seed: of the down-sampling and the split.
        fractions: {"test": "1/5", "eval": "3/10"}, exact.
        images_found: class → images in its folders, usable or not.
        images_clean: class → distinct usable images.
        images_per_class: n after down-sampling.
        split_counts: class → split → images.
        left_out: kind → lines of left_out.csv.
        duplicates_dropped: byte-identical copies inside a class.
        patients: split → distinct patient ids.
        images_without_patient: chosen images that could not be kept with others.
        patients_in_two_splits: counted on the finished split; None where no patient is known.
        sources: class → the metadata's `source` → chosen images; "unknown" where it is silent.
        licences: class → licence → chosen images, likewise.
        deviations: counts that could not be met, with the reason.
        digest: sha256 over the sorted (sha256, class, split), so independent of names.
        remarks: what could not be known, each `topic` and `sentence` (`remarks.Remark`).
        conversions: what made PNGs of images that were none, with versions → chosen images; where
            all are PNGs, there is no such key.
        rendering: `dicom_window` and `dicom_percentile`, where a DICOM was chosen or the
            configuration asks for others than usual; else there is no such key.
        spans: of each span `number`, `folder`, whether it is `taken`, and `images`, split →
            images; without spans there is no such key.
    """

    classes: tuple[str, ...]
    seed: int
    fractions: dict[str, str]
    images_found: dict[str, int]
    images_clean: dict[str, int]
    images_per_class: int
    split_counts: dict[str, dict[str, int]]
    left_out: dict[str, int]
    duplicates_dropped: int
    patients: dict[str, int]
    images_without_patient: int
    patients_in_two_splits: int | None
    digest: str
    sources: dict[str, dict[str, int]]
    licences: dict[str, dict[str, int]]
    deviations: tuple[dict[str, Any], ...] = field(default=())
    conversions: dict[str, int] = field(default_factory=dict)
    rendering: dict[str, float] = field(default_factory=dict)
    spans: tuple[dict[str, Any], ...] = field(default=())
    remarks: tuple[dict[str, Any], ...] = field(default=())

    @property
    def counts(self) -> dict[str, Any]:
        """The numbers that the artifact carries as a property."""
        return {
            "found": self.images_found,
            "clean": self.images_clean,
            "per_class": self.images_per_class,
            "splits": self.split_counts,
        }

    def to_json(self) -> str:
        """Write pretty JSON with sorted keys."""
        totals = {
            split: sum(row[split] for row in self.split_counts.values())
            for split in contract.SPLITS
        }
        bad = self.left_out.get(Kind.BAD.value, 0)
        content = {**asdict(self), "split_totals": totals, "bad": bad}
        for name in ("spans", "conversions", "rendering"):
            if not content[name]:
                del content[name]
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def rendering_to_note(rendering: Rendering, conversions: Iterable[str]) -> dict[str, float]:
    """Return what serving needs to know of how DICOM was rendered; nothing where it needs none.

    Args:
        rendering: of the configuration.
        conversions: as `Summary` has them.
    """
    read = any(name.startswith(f"{dicom.FORMAT} ") for name in conversions)
    return rendering.to_json() if read or rendering != DEFAULT else {}


def digest(entries: Iterable[Entry]) -> str:
    """Hash which image is in which split, whatever the files are called; in hex digits."""
    lines = sorted(f"{entry.sha256}\t{entry.class_name}\t{entry.split}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_manifest(
    uri: str, entries: Sequence[Entry], left_out: Iterable[LeftOut], summary: Summary
) -> None:
    """Write the three files into the folder `uri`, local or remote."""
    order = {name: index for index, name in enumerate(summary.classes)}
    rows = sorted(entries, key=lambda entry: (order[entry.class_name], entry.file))
    manifest = [(row.file, row.class_name, row.patient, row.sha256, row.split) for row in rows]
    in_order = kept(left_out, in_order=True)
    rest = ((item.path, item.kind.value, item.reason) for item in in_order)
    write_csv(uri, MANIFEST_FILE, _MANIFEST_COLUMNS, manifest)
    write_csv(uri, LEFT_OUT_FILE, _LEFT_OUT_COLUMNS, rest)
    _write(f"{uri}/{contract.SUMMARY_FILE}", summary.to_json())


def read_manifest(uri: str) -> list[Entry]:
    """Read the lines of manifest.csv in the folder `uri`.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    return [Entry(*row) for row in read_csv(uri, MANIFEST_FILE)]


def read_left_out(uri: str) -> list[LeftOut]:
    """Read the lines of left_out.csv in the folder `uri`.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    rows = read_csv(uri, LEFT_OUT_FILE)
    return [LeftOut(path, Kind(kind), reason) for path, kind, reason in rows]


def read_summary(uri: str) -> dict[str, Any]:
    """Read summary.json in the folder `uri`; keys as in `Summary`.

    Manifests from before they were counted have no `sources` and no `licences`.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    content: dict[str, Any] = json.loads(_read(f"{uri}/{contract.SUMMARY_FILE}"))
    return content


def write_csv(uri: str, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a file of cells into the folder `uri`, local or remote; some rows at a time."""
    import tensorflow as tf

    rest = iter(rows)
    with tf.io.gfile.GFile(f"{uri}/{name}", "wb") as file:
        file.write(_csv([header]))
        while block := list(itertools.islice(rest, _BLOCK)):
            file.write(_csv(block))


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8")


def read_csv(uri: str, name: str) -> list[list[str]]:
    """Read the rows of such a file, without its header.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    return read_table(uri, name)[1]


def read_table(uri: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Read the header and the rows of such a file.

    Raises:
        tf.errors.NotFoundError: there is none.
    """
    text = _read(f"{uri}/{name}")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    return header, rows


def _write(path: str, text: str) -> None:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(text.encode("utf-8"))


def _read(path: str) -> str:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        content: bytes = file.read()
    return content.decode("utf-8")
