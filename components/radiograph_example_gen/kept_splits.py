"""The places that images of spans were given, kept from run to run outside the artifacts.

`<splits_dir>/<digest of the rule>.csv`: sha256, class, split, patients (a JSON list); a line
an image that was ever seen. While all spans are there, unchanged, it says nothing that they
don't; it is what holds the split where a span is gone, or images of it are.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from components.radiograph_example_gen.settings import Settings, to_json
from components.radiograph_example_gen.span_split import UNUSED, Kept
from schema import contract
from schema.errors import InputError

_COLUMNS = ("sha256", "class", "split", "patients")


def read_kept(settings: Settings) -> dict[str, Kept]:
    """What earlier runs with the same classes, seed and fractions gave; nothing in a first one.

    Raises:
        InputError: the file can't be read.
    """
    path = _path(settings)
    if path is None or not path.exists():
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


def write_kept(settings: Settings, kept: Mapping[str, Kept]) -> None:
    """Keeps what was given, whole or not at all.

    Raises:
        InputError: the folder can't be written to.
    """
    path = _path(settings)
    if path is None:
        return
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for sha256, each in sorted(kept.items()):
                patients = json.dumps(sorted(each.patients), ensure_ascii=False)
                writer.writerow((sha256, each.class_name, each.split, patients))
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}.") from error


def _path(settings: Settings) -> Path | None:
    if settings.splits_dir is None:
        return None
    fractions = str(settings.test_fraction), str(settings.eval_fraction)
    rule = to_json([settings.class_names, settings.seed, *fractions])
    return Path(settings.splits_dir) / f"{hashlib.sha256(rule.encode()).hexdigest()[:16]}.csv"


def _parse(row: list[str]) -> tuple[str, Kept]:
    sha256, class_name, split, patients = row
    if split not in (*contract.SPLITS, UNUSED):
        raise ValueError(f"{split!r} is no split")
    return sha256, Kept(class_name, split, frozenset(json.loads(patients)))
