"""Remarks on what a look at the data could not find out, kept in the manifest's summary."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.columns import Columns
from components.radiograph_example_gen.discovery import FOLDER_NOT_READ, Kind, LeftOut
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.settings import Limits
from schema import contract

PATIENTS: Final = "patients"
COLUMNS: Final = "columns"
ROWS: Final = "rows"
FILES: Final = "files"
FOLDERS: Final = "folders"
AGES: Final = "ages"
CLASSES: Final = "classes"
TABLES: Final = "tables"
IMAGES: Final = "images"

PATIENTS_UNKNOWN: Final = "patients unknown: images of one person may lie in several splits"
# A patient has an unlikely share where it has this many images, this share of all that have a
# patient, and this many times as many as the middle one of all patients.
_MANY_IMAGES: Final = 10
_LARGE_SHARE: Final = 0.1
_TIMES_THE_MEDIAN: Final = 5
_SHOWN: Final = 3
_COLUMNS_SHOWN: Final = 12
# Parts of names that speak of a person, with a number; and from which share of the images on.
_PERSON_IN_A_NAME: Final = re.compile(
    r"(?<![a-z])(?:person|patient|pat|subject|subj|participant|pid)[ _.-]?0*(\d+)(?!\d)"
)
_NAMED_SHARE: Final = 0.1
_NAMED_TIMES: Final = 2


@dataclass(frozen=True, order=True)
class Remark:
    """One thing that is not known, or not as it seems.

    Attributes:
        topic: one of this module's.
        sentence: for people; without a full stop.
    """

    topic: str
    sentence: str


def some_of(items: Iterable[str], most: int = _SHOWN) -> str:
    """List the first few, with an ellipsis where there are more.

    Args:
        items: in the order in which they are shown.
        most: so many at most.
    """
    known = list(items)
    return ", ".join(known[:most]) + (", …" if len(known) > most else "")


def of_columns(name: str, columns: Columns) -> Iterator[Remark]:
    """Say what was taken for what, and what looks like a patient's id and isn't read.

    Args:
        name: of the table, as messages call it.
        columns: of the table.
    """
    for column in columns.overlooked:
        yield Remark(
            COLUMNS,
            f"{name}: the column {column!r} looks like patients' ids but is not read; "
            "call it 'patient_id' if it holds them",
        )
    if "patient_id" not in columns.names and not columns.overlooked and columns.others:
        shown = ", ".join(map(repr, columns.others[:_COLUMNS_SHOWN]))
        more = len(columns.others) - _COLUMNS_SHOWN
        yield Remark(
            COLUMNS,
            f"{name}: no column is read as the patient; these are not read: {shown}"
            f"{f' and {more} more' if more > 0 else ''}; call the one that holds patients' ids "
            "'patient_id'",
        )


def of_missing_columns(
    tables: Sequence[tuple[str, Columns]], headers: Collection[str] = ()
) -> Iterator[Remark]:
    """Say what neither a table nor a header says; of patients, `of_patients` speaks.

    Args:
        tables: name and columns of each.
        headers: columns that DICOM headers say of some image.
    """
    wanted = [*contract.METADATA_TEXT_COLUMNS, *contract.METADATA_NUMBER_COLUMNS]
    wanted.remove("patient_id")
    there = {*headers, *(column for _, columns in tables for column in columns.names)}
    missing = [column for column in wanted if column not in there]
    if missing and tables:
        names = ", ".join(name for name, _ in tables)
        yield Remark(COLUMNS, f"{names}: no column says {', '.join(missing)} of the images")
    elif missing:
        yield Remark(COLUMNS, f"no table (metadata.csv) says {', '.join(missing)} of the images")


def of_cells(name: str, problems: Collection[LeftOut]) -> Iterator[Remark]:
    """Say how many cells could not be read.

    Args:
        name: of the table.
        problems: one a cell.
    """
    if problems:
        first = next(iter(problems)).reason
        yield Remark(
            ROWS,
            f"{name}: {len(problems)} {'cell' if len(problems) == 1 else 'cells'} could not be "
            f"read ({first}{'; …' if len(problems) > 1 else ''}; left_out.csv)",
        )


def of_spellings(name: str, respelt: Mapping[str, int]) -> Iterator[Remark]:
    """Say how many cells of sex were read as F or M though they are spelt otherwise.

    Args:
        name: of the table.
        respelt: spelling -> cells.
    """
    if count := sum(respelt.values()):
        spellings = sorted(respelt.items(), key=lambda item: (-item[1], item[0]))
        shown = some_of((f"{spelling!r} ({cells})" for spelling, cells in spellings), _SHOWN)
        yield Remark(
            ROWS,
            f"{name}: {count} {'cell' if count == 1 else 'cells'} of sex in another spelling "
            f"{'is' if count == 1 else 'are'} read as F or M: {shown}",
        )


def of_short_rows(name: str, lines: Sequence[int], rows: int) -> Iterator[Remark]:
    """Name rows whose last cells are missing.

    Args:
        name: of the table.
        lines: where they start.
        rows: all.
    """
    if lines:
        yield Remark(
            ROWS,
            f"{name}: of {rows} rows, {len(lines)} with fewer cells than the header has columns "
            f"(line {some_of(map(str, lines))}): what the last columns say of them is unknown",
        )


def of_classes(rows: Iterable[tuple[str, Row | None]]) -> Iterator[Remark]:
    """Name classes that the tables pass over, where they speak of others.

    Args:
        rows: class and row of each image that is used; None for an image without one.
    """
    images: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for name, row in rows:
        images[name] += 1
        known[name] += row is not None and row.line > 0
    if known.total():
        for name, count in sorted(images.items()):
            if not known[name]:
                yield Remark(CLASSES, f"{name}: none of its {count} images has a row in a table")


def of_rows(
    name: str, by_rule: Mapping[str, int], without_image: int, rows: int
) -> Iterator[Remark]:
    """Say how rows found their images, where it was not by the path as it stands.

    Args:
        name: of the table.
        by_rule: rule -> rows.
        without_image: rows that no image goes by.
        rows: all.
    """
    for rule, count in sorted(by_rule.items()):
        yield Remark(ROWS, f"{name}: {count} of {rows} rows found their image {rule}")
    if without_image:
        yield Remark(ROWS, f"{name}: {without_image} of {rows} rows go by no image (left_out.csv)")


def of_patients(rows: Iterable[Row | None]) -> Iterator[Remark]:
    """Say what is not known of which patients are pictured.

    Args:
        rows: of each image that is used; None for an image without one.
    """
    everyone = [row.patient if row else "" for row in rows]
    known = Counter(filter(None, everyone))
    missing = everyone.count("")
    if everyone and not known:
        yield Remark(PATIENTS, PATIENTS_UNKNOWN)
        return
    if missing:
        yield Remark(
            PATIENTS,
            f"the patient of {missing} of {len(everyone)} images is unknown: images of one person "
            "among them may lie in several splits",
        )
    total = sum(known.values())
    median = sorted(known.values())[len(known) // 2] if known else 0
    for patient, count in sorted(known.items()):
        if count >= max(_MANY_IMAGES, _LARGE_SHARE * total, _TIMES_THE_MEDIAN * median):
            yield Remark(
                PATIENTS,
                f"patient {patient!r} has {count} of {total} images: is it a word for 'unknown'?",
            )


def of_names(paths: Iterable[str], rows: Iterable[Row | None]) -> Iterator[Remark]:
    """Warn where names of images look as if they carried the patient, who is else unknown.

    Args:
        paths: of each image that is used.
        rows: of the same images; None for an image without one.
    """
    unknown = [path for path, row in zip(paths, rows, strict=True) if not row or not row.patient]
    people: Counter[str] = Counter()
    for path in unknown:
        if found := _PERSON_IN_A_NAME.search(path.casefold()):
            people[found[0]] += 1
    images = people.total()
    if images < _NAMED_SHARE * len(unknown) or max(people.values(), default=0) < _NAMED_TIMES:
        return
    most, count = max(people.items(), key=lambda item: (item[1], item[0]))
    yield Remark(
        PATIENTS,
        f"the names of {images} of {len(unknown)} images without a patient look as if they named "
        f"one ({most!r} is in {count}): a table with the columns 'file' and 'patient_id' keeps "
        "each person's images in one split",
    )


def of_tables(tables: Sequence[str], read: Iterable[str]) -> Iterator[Remark]:
    """Name tables in the data folder that are not read.

    Args:
        tables: their paths.
        read: those of them that are.
    """
    unread = sorted(set(tables) - set(read))
    if not unread:
        return
    shown = ", ".join(unread[:_SHOWN])
    more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    what = "is a table" if len(unread) == 1 else "are tables"
    how = (
        "save it as CSV in UTF-8 and " if len(unread) == 1 else "save them as one CSV in UTF-8 and "
    )
    if len(unread) == 1 and unread[0].casefold().endswith(".csv"):
        how = ""
    yield Remark(
        TABLES,
        f"{shown}{more} {what} in the data folder that {'is' if len(unread) == 1 else 'are'} not "
        f"read; to have what is in {'it' if len(unread) == 1 else 'them'}, {how}give it as "
        "data.metadata, the one table that is read",
    )


def of_ages(rows: Iterable[Row | None]) -> Iterator[Remark]:
    """Say how many ages are missing, where a table has any.

    Args:
        rows: of each image that is used; None for an image without one.
    """
    ages = ["age" in row.numbers if row else False for row in rows]
    if any(ages) and not all(ages):
        yield Remark(AGES, f"the age of {ages.count(False)} of {len(ages)} images is unknown")


def of_files(left_out: Iterable[LeftOut]) -> Iterator[Remark]:
    """Name images that were not read, and other files that may be some, by folder and kind.

    Args:
        left_out: everything left out.
    """
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in left_out:
        if item.kind in (Kind.UNREAD_IMAGE, Kind.OTHER_FILE) and item.reason != FOLDER_NOT_READ:
            folder, _, file = item.path.rpartition("/")
            shown = item.kind is Kind.OTHER_FILE
            kinds[folder, item.reason].append(repr(file) if shown else "")
    for (folder, reason), files in sorted(kinds.items()):
        count = len(files)
        names = ", ".join(filter(None, files[:_SHOWN]))
        names += ", …" if names and count > _SHOWN else ""
        yield Remark(
            FILES,
            f"{folder}: {count} {'file' if count == 1 else 'files'}: {reason}"
            f"{f' ({names})' if names else ''}",
        )


def of_folders(beside: Mapping[str, int]) -> Iterator[Remark]:
    """Name folders with images that no class names.

    Args:
        beside: folder -> images in it.
    """
    for folder, count in sorted(beside.items()):
        yield Remark(
            FOLDERS,
            f"the folder {folder!r} with {count} {'image' if count == 1 else 'images'} belongs to "
            "no class; to take it, add to data.classes: "
            f"{{name: {json.dumps(folder, ensure_ascii=False)}, "
            f"folders: [{json.dumps(folder, ensure_ascii=False)}]}}",
        )


def of_unread_folders(unread: Mapping[str, int]) -> Iterator[Remark]:
    """Name images that lie where none is read: too deep, or beside the class folders.

    Args:
        unread: folder -> images in it and below.
    """
    loose = sum(count for folder, count in unread.items() if folder.rpartition("/")[2] == ".")
    if loose:
        yield Remark(
            FOLDERS,
            f"{loose} {'image lies' if loose == 1 else 'images lie'} directly in the data folder, "
            "and belong to no class: put them into a class's folder",
        )
    deep = {folder: count for folder, count in unread.items() if folder.rpartition("/")[2] != "."}
    if deep:
        shown = some_of(f"{folder!r} with {count}" for folder, count in sorted(deep.items()))
        images, folders = sum(deep.values()), len(deep)
        yield Remark(
            FOLDERS,
            f"{images} {'image lies' if images == 1 else 'images lie'} in "
            f"{'a folder' if folders == 1 else f'{folders} folders'} in which none is read "
            f"({shown}): only those directly in a class's "
            "folder, and in images/ there, are",
        )


def check_unmatched(
    name: str,
    rows: int,
    without_image: Collection[LeftOut],
    images: Sequence[str],
    with_row: Mapping[str, object],
    limits: Limits,
) -> None:
    """Stop where too many rows or images of a table find no partner.

    Args:
        name: of the table.
        rows: of the table.
        without_image: of these, those that found none.
        images: that the table is about, by path.
        with_row: images that have a row, by path.
        limits: `max_unmatched_fraction` may be reached, not exceeded.

    Raises:
        InputError: with both counts and the first that have none.
    """
    bare = [path for path in images if path not in with_row]
    limit = limits.max_unmatched_fraction
    if len(without_image) <= limit * rows and len(bare) <= limit * len(images):
        return
    shown = some_of(map(repr, bare))
    first = next((f"{item.path!r} ({item.reason})" for item in without_image), "")
    raise InputError(
        f"{name}: {len(without_image)} of {rows} rows go by no image, and {len(bare)} of "
        f"{len(images)} images have no row{f' ({shown})' if shown else ''}, more than "
        f"data.max_unmatched_fraction = {limit}. "
        f"{f'One of these rows: {first}. ' if first else ''}Correct the column 'file' (paths "
        "relative to the data folder), or raise the limit where the table is about "
        "other images, too."
    )
