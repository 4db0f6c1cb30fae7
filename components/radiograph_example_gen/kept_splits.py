"""The places that images of spans were given, kept with what was pushed.

`<digest of the rule>.csv`: sha256, class, split, patients (a JSON list); a line an image that
was ever seen. The node writes it below its manifest, ServingPusher keeps that of each version,
and a later run reads them all: no model that anybody goes on from or compares with was made
with a split that isn't there. While all spans are there, unchanged, it says nothing that they
don't; it is what holds the split where a span is gone, or images of it are.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tfx.dsl.io import fileio

from common.errors import InputError
from components.radiograph_example_gen.manifest import write_csv
from components.radiograph_example_gen.settings import Settings, to_json
from components.radiograph_example_gen.span_split import UNUSED, Kept
from components.saved_models import versions_in
from schema import contract

SPLITS_FOLDER = "splits"
_COLUMNS = ("sha256", "class", "split", "patients")


def read_kept(settings: Settings) -> dict[str, Kept]:
    """Return what earlier runs with the same classes, seed and fractions gave.

    The earliest version says where an image is; patients become known in any.

    Args:
        settings: `splits_dir` is where ServingPusher keeps them, locally or remotely; it need not
            exist.

    Raises:
        InputError: a file can't be read.
    """
    merged: dict[str, Kept] = {}
    for folder in _versions(settings.splits_dir) if settings.splits_dir else ():
        for sha256, each in _read(os.path.join(folder, SPLITS_FOLDER, _name(settings))).items():
            before = merged.get(sha256, each)
            merged[sha256] = replace(before, patients=before.patients | each.patients)
    return merged


def _versions(pushed: str) -> list[str]:
    """List the folders of all models' versions, the earliest first."""
    names = [name.rstrip("/") for name in fileio.listdir(pushed)] if fileio.exists(pushed) else []
    models = [os.path.join(pushed, name) for name in names]
    found = [
        (int(version), model)
        for model in models
        if fileio.isdir(model)
        for version in versions_in(model)
    ]
    return [os.path.join(model, str(version)) for version, model in sorted(found)]


def write_kept(uri: str, settings: Settings, kept: Mapping[str, Kept]) -> None:
    """Write what a run gave below the manifest in the folder `uri`, local or remote."""
    import tensorflow as tf

    tf.io.gfile.makedirs(f"{uri}/{SPLITS_FOLDER}")
    write_csv(f"{uri}/{SPLITS_FOLDER}", _name(settings), _COLUMNS, _rows(kept))


def _read(path: str) -> dict[str, Kept]:
    if not fileio.exists(path):
        return {}
    try:
        with fileio.open(path, "r") as file:
            lines = file.read().splitlines()
        return dict(map(_parse, list(csv.reader(lines))[1:]))
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
