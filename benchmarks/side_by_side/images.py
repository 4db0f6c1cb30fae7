"""Chooses the radiographs to measure with: as many of each class, always the same."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final

from common.errors import InputError

_METADATA: Final = "metadata.csv"
_FILE: Final = "file"
_FEWEST: Final = 30
# Of the images, what is delivered later: 65 of 657.
_DELIVERED: Final = 10


def chosen(data: Path, count: int | None = None) -> list[Path]:
    """Choose images, class by class in turns, so that any first part is balanced, too.

    Args:
        data: class folders with PNGs directly inside, or in `images`.
        count: how many; all where None.

    Returns:
        Paths from `data` on.

    Raises:
        InputError: there are no such folders, or fewer images.
    """
    classes = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        inner = folder / "images"
        files = (inner if inner.is_dir() else folder).glob("*.png")
        named = [file.relative_to(data) for file in files]
        classes.append(sorted(named, key=_shuffled))
    turns = chain.from_iterable(zip_longest(*classes))
    found = [file for file in turns if file is not None]
    wanted = len(found) if count is None else count
    if not _FEWEST <= wanted <= len(found):
        raise InputError(
            f"images: {data} has {len(found)} images in class folders; take {_FEWEST} to that many."
        )
    return found[:wanted]


def _shuffled(file: Path) -> bytes:
    return hashlib.sha256(file.as_posix().encode()).digest()


def spans(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Divide images into those that are there first, and a tenth that is delivered later."""
    later = len(files) // _DELIVERED
    return files[:-later], files[-later:]


def copy_images(data: Path, files: Iterable[Path], target: Path) -> None:
    """Make a data folder of some images, with their rows of the metadata.

    Args:
        data: from which.
        files: paths from there on.
        target: the folder; what is there is replaced.

    Raises:
        InputError: the metadata have no column `file`.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    names = set()
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / file, target / file)
        names.add(file.as_posix())
    table = data / _METADATA
    if not table.is_file():
        return
    with table.open(newline="", encoding="utf-8-sig") as source:
        rows = csv.DictReader(source)
        columns = list(rows.fieldnames or ())
        if _FILE not in columns:
            raise InputError(f"{table}: has no column {_FILE!r}, so no part of it can be taken.")
        with (target / _METADATA).open("w", newline="", encoding="utf-8") as copy:
            writer = csv.DictWriter(copy, columns)
            writer.writeheader()
            writer.writerows(row for row in rows if row[_FILE] in names)


def copy_flat(data: Path, files: Iterable[Path], target: Path) -> None:
    """Copy images into one folder without others below it.

    Args:
        data: from which.
        files: paths from there on.
        target: the folder; what is there is replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in files:
        shutil.copyfile(data / file, target / " - ".join(file.parts))
