"""Words on a data folder that holds no class folders, which help to put it right.

Looks at names, and into the first line of small texts; what can't be read is passed over, since the
message that this ends up in is about something else.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from components.radiograph_example_gen.columns import normal
from components.radiograph_example_gen.readers import is_picture, picture_suffixes
from schema.image_names import is_of_the_system, is_skipped_folder

METADATA_NAME: Final = "metadata.csv"
# Where each layout has its recipe.
_WHERE: Final = 'docs/data.md, "Layouts that people download"'
# Columns that name what an image shows, by `normal`.
_FINDINGS: Final = (
    "finding",
    "findings",
    "finding labels",
    "label",
    "labels",
    "class",
    "diagnosis",
)
# Of a list of images in a text: so many lines are looked at, so many words a line are usual.
_LINES: Final = 5
_WORDS: Final = range(2, 7)
_SHOWN: Final = 6
# Folders of such names are parts of a data set, and no classes.
_PARTS: Final = frozenset({"train", "test", "val", "valid", "validation", "images", "data"})
_FIRST_LINE: Final = 65536

_Item = TypeVar("_Item")


@dataclass
class _Inside:
    """A folder: how many pictures are directly inside, and its folders and files."""

    pictures: int = 0
    folders: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def what_is_there(root: Path) -> str:
    """Describe a data folder in which a class folder is missing, in sentences; "" if nothing helps.

    Args:
        root: of the data.

    Returns:
        With a blank in front.
    """
    top = _inside(root)
    filled = {path.name: _pictures(path) for path in top.folders}
    filled = {name: count for name, count in filled.items() if count}
    below = {path.name: _class_counts(path) for path in top.folders}
    below = {name: counts for name, counts in below.items() if len(counts) > 1}
    sentences = []
    if below and not filled.keys() - below.keys():
        sentences.append(_of_splits(root, below))
    elif filled or top.pictures:
        sentences.append(_of_folders(filled, top.pictures))
    if (filled or top.pictures) and not below:
        sentences += _of_lists(top.files)
    return "".join(f" {sentence}" for sentence in sentences)


def _of_splits(root: Path, below: Mapping[str, Mapping[str, int]]) -> str:
    first = "train" if "train" in below else next(iter(below))
    counted = "; ".join(
        f"{name}: " + ", ".join(f"{inner} ({count})" for inner, count in _first(counts))
        for name, counts in _first(below)
    )
    classes = ", ".join(_class(name) for name, _ in _first(below[first]))
    return (
        f"Class folders lie one level below ({counted} images): give {str(root / first)!r} as "
        f"data.dir, with data.classes: [{classes}]."
    )


def _of_folders(filled: Mapping[str, int], loose: int) -> str:
    parts = [f"{name!r} with {count}" for name, count in _first(filled)]
    parts += [f"and {len(filled) - _SHOWN} more folders"] if len(filled) > _SHOWN else []
    parts += [f"{loose} directly inside"] if loose else []
    advice = ""
    if any(name.casefold() not in _PARTS for name in filled):
        classes = ", ".join(_class(name) for name, _ in _first(filled))
        advice = f" If these are the classes, say so: data.classes: [{classes}]."
    else:
        advice = f" Images must lie in a folder for each class: {_WHERE}."
    return f"Images there: {', '.join(parts)}.{advice}"


def _of_lists(files: Sequence[Path]) -> Iterator[str]:
    """Describe tables and texts that say what the images show."""
    for path in files:
        if path.suffix.casefold() == ".csv" and (column := _finding_column(path)):
            table = "" if path.name.casefold() == METADATA_NAME else f", data.metadata: {path.name}"
            yield (
                f"{path.name} has a column {column!r}: to take the classes from it, set "
                f"data.layout: table{table}, data.columns: {{label: {json.dumps(column)}}}, and "
                f"each class's labels in data.classes ({_WHERE})."
            )
        elif path.suffix.casefold() == ".txt" and _is_list(path):
            yield (
                f"{path.name} looks like a list of images and their classes: sort the images into "
                f"class folders by it ({_WHERE})."
            )


def _finding_column(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader([file.readline(_FIRST_LINE)]), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    wanted = {normal(name) for name in _FINDINGS}
    return next((cell.strip() for cell in header if normal(cell) in wanted), None)


def _is_list(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            lines = [file.readline(_FIRST_LINE).split() for _ in range(_LINES)]
    except (OSError, UnicodeDecodeError):
        return False
    lines = [words for words in lines if words]
    return bool(lines) and all(
        len(words) in _WORDS and any(_ends_like_an_image(word) for word in words) for words in lines
    )


def _ends_like_an_image(word: str) -> bool:
    return word.casefold().endswith(picture_suffixes())


def _class_counts(folder: Path) -> dict[str, int]:
    """Count the images in each folder that holds some."""
    counts = {path.name: _pictures(path) for path in _inside(folder).folders}
    return {name: count for name, count in counts.items() if count}


def _pictures(folder: Path) -> int:
    """Count images directly in a folder or one level below, masks left out."""
    found = _inside(folder)
    return found.pictures + sum(_inside(path).pictures for path in found.folders)


def _inside(folder: Path) -> _Inside:
    found = _Inside()
    try:
        paths = sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError:
        return found
    for path in paths:
        if is_of_the_system(path.name):
            continue
        if path.is_dir():
            if not is_skipped_folder(path.name):
                found.folders.append(path)
        elif is_picture(path.name):
            found.pictures += 1
        else:
            found.files.append(path)
    return found


def _class(name: str) -> str:
    quoted = json.dumps(name, ensure_ascii=False)
    return f"{{name: {quoted}, folders: [{quoted}]}}"


def _first(items: Mapping[str, _Item]) -> list[tuple[str, _Item]]:
    return list(islice(items.items(), _SHOWN))
