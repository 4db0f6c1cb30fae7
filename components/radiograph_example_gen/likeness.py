"""Patients' ids, and images, that differ and may be the same all the same."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.remarks import IMAGES, PATIENTS, Remark, some_of

_FLOAT: Final = re.compile(r"(\d+)[.,]0+")
_LEADING_ZEROS: Final = re.compile(r"(?<!\d)0+(?=\d)")
_SIGNS: Final = re.compile(r"[\W_]+")
# What a spreadsheet makes of a long number: 1.23457E+11.
_CUT: Final = re.compile(r"\d([.,]\d+)?[eE]\+\d+")
# Grey levels: an image of fewer shows nothing, and is like any other such image.
FLAT: Final = 1.0


def of_ids(rows: Iterable[Row | None]) -> Iterator[Remark]:
    """Find ids of patients that differ as programs and people change them without meaning to.

    Args:
        rows: of each image that is used; None for an image without one.
    """
    ids = {row.patient for row in rows if row and row.patient}
    alike: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(ids):
        alike[_plain(patient)].append(patient)
    groups = [names for _, names in sorted(alike.items()) if len(names) > 1]
    if groups:
        shown = some_of(" and ".join(map(repr, names)) for names in groups)
        yield Remark(
            PATIENTS,
            f"{sum(map(len, groups))} ids of patients look alike ({shown}): each counts as a "
            "person of its own; where two are one person, whose images may lie in several splits, "
            "write them alike",
        )
    cut = sorted(patient for patient in ids if _CUT.fullmatch(patient))
    if cut:
        yield Remark(
            PATIENTS,
            f"{len(cut)} {'id of a patient is' if len(cut) == 1 else 'ids of patients are'} as a "
            f"spreadsheet shortens long numbers ({some_of(map(repr, cut))}): several persons may "
            "have the same; export the column as text",
        )


def of_copies(images: Sequence[Inspection]) -> Iterator[Remark]:
    """Find different files of the same size and as many pixels of every grey level.

    Args:
        images: that are used.
    """
    same: dict[tuple[int, int, float, float, float], list[Inspection]] = defaultdict(list)
    for item in images:
        if item.std >= FLAT:
            same[item.width, item.height, item.mean, item.std, item.entropy].append(item)
    groups = [
        sorted(items, key=lambda item: item.path)
        for items in same.values()
        if len({item.sha256 for item in items}) > 1
    ]
    if not groups:
        return
    groups.sort(key=lambda items: items[0].path)
    shown = some_of(" and ".join(repr(i.path) for i in items[:2]) for items in groups)
    classes = sum(len({item.class_name for item in items}) > 1 for items in groups)
    yield Remark(
        IMAGES,
        f"{sum(map(len, groups))} images have the very grey levels of another one, though not its "
        f"bytes ({shown}): copies that were saved anew, or "
        "mirrored, may lie in several splits"
        f"{_in_two(classes)}",
    )


def _in_two(count: int) -> str:
    what = "images is" if count == 1 else "images are"
    return f"; {count} of these {what} in two classes" if count else ""


def _plain(patient: str) -> str:
    text = unicodedata.normalize("NFKC", patient).casefold()
    number = _FLOAT.fullmatch(text)
    text = _SIGNS.sub("-", number[1] if number else text).strip("-")
    return _LEADING_ZEROS.sub("", text) or patient
