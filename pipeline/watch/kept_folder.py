"""The folder `pushed` of a run, as the commands of this wing look for it."""

from __future__ import annotations

import csv
from pathlib import Path

from common.errors import InputError
from components.radiograph_example_gen.manifest import MANIFEST_FILE
from pipeline.watch.log_rows import LogRows
from pipeline.watch.reference import Reference, read_reference


def kept_folder(model_dir: Path, pushed: Path | None) -> Path:
    """Find what a run kept of its pushes.

    Args:
        model_dir: the run's serving folder.
        pushed: the folder, where it isn't beside that.

    Raises:
        InputError: one of both is no folder.
    """
    if not model_dir.is_dir():
        raise InputError(f"model-dir: {model_dir} is no folder; give a run's serving folder.")
    kept = pushed or model_dir.resolve().parent / "pushed"
    if not kept.is_dir():
        raise InputError(
            f"pushed: {kept} is no folder; give the run's folder of what was kept of its pushes."
        )
    return kept


def references_of(rows: LogRows, kept: Path) -> dict[tuple[str, int], Reference]:
    """Read the record of each version that a log names, as far as there is one.

    Raises:
        InputError: a record can't be read.
    """
    names = sorted({(row.model, row.version) for row in rows.rows})
    read = {name: read_reference(kept, *name) for name in names}
    return {name: reference for name, reference in read.items() if reference is not None}


def seen_images(kept: Path, model: str) -> set[str]:
    """Collect the images that any version of a model was trained, chosen or tested with.

    Args:
        kept: the folder `pushed`.
        model: name of it.

    Returns:
        SHA-256 each.

    Raises:
        InputError: a manifest can't be read.
    """
    found: set[str] = set()
    for file in sorted((kept / model).glob(f"*/{MANIFEST_FILE}")):
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                found.update(row["sha256"] for row in csv.DictReader(lines))
        except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
            raise InputError(f"{file} can't be read: {error}; push the model again.") from error
    return found
