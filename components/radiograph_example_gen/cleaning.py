"""Inspected files + metadata → the images that may be used. Reads and writes no file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from absl import logging

from common.errors import InputError
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.settings import ClassFolders, Limits, meant
from models.table_values import UNKNOWN_VALUES

REASONS_SHOWN = 10


@dataclass(frozen=True)
class CleanImage:
    """A usable image, once.

    Attributes:
        inspection: of the copy that is used.
        row: its metadata, if it has any.
        patients: ids that any copy of the image carries; empty where unknown.
        group: the same text for all images that must stay in one split; "" for an
            image that stands alone.
    """

    inspection: Inspection
    row: Row | None
    patients: frozenset[str]
    group: str


@dataclass(frozen=True)
class Cleaned:
    """The images that are left, those that are not, and the number of redundant copies."""

    images: tuple[CleanImage, ...]
    left_out: tuple[LeftOut, ...]
    duplicates_dropped: int


def clean(
    inspections: Sequence[Inspection],
    rows: Mapping[str, Row],
    classes: Sequence[ClassFolders],
) -> Cleaned:
    """Drop unusable, contradictory and redundant files; link patients that share an image."""
    left_out = [LeftOut(item.path, Kind.BAD, item.reason) for item in inspections if item.reason]
    usable = [item for item in inspections if not item.reason]
    patients = _patients_by_content(inspections, rows)
    groups = link_patients(patients.values())
    images = []
    duplicates = 0
    for copies in _by_content(usable):
        # Before copies are dropped: whichever of them were kept, its label is in doubt.
        contradictory = _contradictory(copies, rows, classes)
        left_out.extend(contradictory)
        if contradictory:
            continue
        redundant = _redundant(copies, rows)
        left_out.extend(redundant)
        duplicates += len(redundant)
        kept = _preferred(copies, rows)
        ids = patients[kept.sha256]
        group = groups[min(ids)] if ids else ""
        images.append(CleanImage(kept, rows.get(kept.path), ids, group))
    return Cleaned(tuple(images), tuple(sorted(left_out)), duplicates)


def check_bad_fraction(left_out: Iterable[LeftOut], found: int, limits: Limits) -> None:
    """Stop when too large a share of the images is unusable, and log each of them then.

    Args:
        left_out: everything left out; only kinds BAD and UNREAD_IMAGE count.
        found: number of images in the data folder, usable or not.
        limits: `max_bad_fraction` may be reached, not exceeded.

    Raises:
        InputError: with the count and the first ten reasons.
    """
    bad = [item for item in left_out if item.kind in (Kind.BAD, Kind.UNREAD_IMAGE)]
    if Fraction(len(bad), max(found, 1)) <= Fraction(str(limits.max_bad_fraction)):
        return
    # left_out.csv is not written by a run that stops; the log is all that keeps the list.
    for item in bad:
        logging.error("Left out: %s: %s", item.path, item.reason)
    shown = "\n".join(f"  {item.path}: {item.reason}" for item in bad[:REASONS_SHOWN])
    more = len(bad) - REASONS_SHOWN
    rest = (
        f"\n  … and {more} more. logs/run.log in the output folder lists all of them "
        f"(the terminal does with --verbose)."
        if more > 0
        else ""
    )
    raise InputError(
        f"{len(bad)} of {found} images are unusable, more than data.max_bad_fraction = "
        f"{limits.max_bad_fraction}. Repair or remove them, or raise the limit:\n{shown}{rest}"
    )


def link_patients(sets: Iterable[frozenset[str]]) -> dict[str, str]:
    """Link ids that meet in one set (union-find): patient id → name of its group.

    The name is the smallest id of the group; nothing but its identity is used.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for ids in sets:
        for name in ids:
            parent.setdefault(name, name)
        roots = sorted({root(name) for name in ids})
        for other in roots[1:]:
            parent[other] = roots[0]
    return {name: root(name) for name in parent}


def _label_conflict(row: Row | None, name: str, classes: Sequence[ClassFolders]) -> str:
    if row is None or not row.label:
        return ""
    names = [each.name for each in meant(classes, row.label)]
    if name in names or (not names and row.label.casefold() in UNKNOWN_VALUES):
        return ""
    conflict = f"the folder says {name!r}, line {row.line} of the metadata says {row.label!r}"
    return conflict if names else f"{conflict}, which no class is called"


def _patients_by_content(
    inspections: Sequence[Inspection], rows: Mapping[str, Row]
) -> dict[str, frozenset[str]]:
    # Copies that are left out count too: they still tell who is pictured.
    ids: dict[str, set[str]] = defaultdict(set)
    for item in inspections:
        row = rows.get(item.path)
        if item.sha256:
            ids[item.sha256] |= {row.patient} if row and row.patient else set()
    return {sha256: frozenset(names) for sha256, names in ids.items()}


def _by_content(usable: Sequence[Inspection]) -> list[list[Inspection]]:
    copies: dict[str, list[Inspection]] = defaultdict(list)
    for item in usable:
        copies[item.sha256].append(item)
    return [copies[sha256] for sha256 in sorted(copies)]


def _contradictory(
    copies: Sequence[Inspection],
    rows: Mapping[str, Row],
    classes: Sequence[ClassFolders],
) -> list[LeftOut]:
    """Leave out all copies, each with its reason, if anything is said against the class of one."""
    names = sorted({item.class_name for item in copies})
    shared = f"the same file is in {' and in '.join(names)}" if len(names) > 1 else ""
    conflicts = {
        item.path: _label_conflict(rows.get(item.path), item.class_name, classes) for item in copies
    }
    doubted = [path for path, conflict in conflicts.items() if conflict]
    if not shared and not doubted:
        return []
    left_out = []
    for path, conflict in conflicts.items():
        reasons = [text for text in (conflict, shared) if text]
        if not reasons:
            reasons = [f"byte-identical with {doubted[0]}, whose folder and metadata disagree"]
        left_out.append(LeftOut(path, Kind.BAD, f"contradictory label: {'; '.join(reasons)}"))
    return left_out


def _redundant(copies: Sequence[Inspection], rows: Mapping[str, Row]) -> list[LeftOut]:
    kept = _preferred(copies, rows)
    return [
        LeftOut(item.path, Kind.DUPLICATE, _same(item, kept)) for item in copies if item is not kept
    ]


def _same(item: Inspection, other: Inspection) -> str:
    alike = item.file_digest == other.file_digest
    return f"{'byte-identical with' if alike else 'of the very same pixels as'} {other.path}"


def _preferred(copies: Sequence[Inspection], rows: Mapping[str, Row]) -> Inspection:
    return min(copies, key=lambda item: (item.path not in rows, item.path))
