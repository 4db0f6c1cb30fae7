"""The places that images of spans were given, kept from run to run outside the artifacts.

`<digest of the rule>.csv`: sha256, class, split, patients (a JSON list); a line an image that
was ever seen. The node writes it below its manifest; `keep` merges it into the folder that the
next run reads. While all spans are there, unchanged, it says nothing that they don't; it is
what holds the split where a span is gone, or images of it are.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from common.errors import InputError
from components.radiograph_example_gen.manifest import write_csv
from components.radiograph_example_gen.settings import Settings, to_json
from components.radiograph_example_gen.span_split import UNUSED, Kept
from schema import contract

SPLITS_FOLDER = "splits"
_COLUMNS = ("sha256", "class", "split", "patients")


def read_kept(settings: Settings) -> dict[str, Kept]:
    """Read what earlier runs with the same classes, seed and fractions gave; a first has none.

    Raises:
        InputError: the file can't be read.
    """
    if settings.splits_dir is None:
        return {}
    return _read(Path(settings.splits_dir, _name(settings)))


def write_kept(uri: str, settings: Settings, kept: Mapping[str, Kept]) -> None:
    """Write what a run gave below the manifest in the folder `uri`, local or remote."""
    import tensorflow as tf

    tf.io.gfile.makedirs(f"{uri}/{SPLITS_FOLDER}")
    write_csv(f"{uri}/{SPLITS_FOLDER}", _name(settings), _COLUMNS, _rows(kept))


def keep(manifest_uri: str, splits_dir: Path) -> None:
    """Add what a run gave to what is kept; no image's place changes.

    Args:
        manifest_uri: local; of a run without spans, which has nothing to keep, too.
        splits_dir: made where it isn't there.

    Raises:
        InputError: the folder can't be read or written to.
    """
    for file in sorted(Path(manifest_uri, SPLITS_FOLDER).glob("*.csv")):
        target = splits_dir / file.name
        merged = _read(target)
        for sha256, each in _read(file).items():
            before = merged.get(sha256, each)
            merged[sha256] = replace(before, patients=before.patients | each.patients)
        unfinished = target.with_suffix(".unfinished")
        try:
            splits_dir.mkdir(parents=True, exist_ok=True)
            with unfinished.open("w", encoding="utf-8", newline="") as opened:
                writer = csv.writer(opened, lineterminator="\n")
                writer.writerows([_COLUMNS, *_rows(merged)])
            unfinished.replace(target)
        except OSError as error:
            raise InputError(f"{target} can't be written: {error.strerror}.") from error


def _read(path: Path) -> dict[str, Kept]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return dict(map(_parse, list(csv.reader(file))[1:]))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}, which keeps the split of earlier spans, can't be read ({error}): put it "
            "back as it was. Without it the split follows from the spans' folders alone, so "
            "remove it only while all of them are there, unchanged."
        ) from error


def _rows(kept: Mapping[str, Kept]) -> Iterator[tuple[str, str, str, str]]:
    for sha256, each in sorted(kept.items()):
        patients = json.dumps(sorted(each.patients), ensure_ascii=False)
        yield sha256, each.class_name, each.split, patients


def _name(settings: Settings) -> str:
    fractions = str(settings.test_fraction), str(settings.eval_fraction)
    rule = to_json([settings.class_names, settings.seed, *fractions])
    return f"{hashlib.sha256(rule.encode()).hexdigest()[:16]}.csv"


def _parse(row: list[str]) -> tuple[str, Kept]:
    sha256, class_name, split, patients = row
    if split not in (*contract.SPLITS, UNUSED):
        raise ValueError(f"{split!r} is no split")
    return sha256, Kept(class_name, split, frozenset(json.loads(patients)))
