"""The rows of a table that says the classes: the class, the image, or why a row is left out."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.flat_tree import leaves
from components.radiograph_example_gen.listed import Listed, kept
from components.radiograph_example_gen.matching import EXACT, Index
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.remarks import some_of
from components.radiograph_example_gen.settings import (
    ClassFolders,
    Settings,
    meant,
    meant_by_any,
    plain,
)
from models.table_values import UNKNOWN_VALUES
from schema import contract

VIEW: Final = "view"


@dataclass
class SortedRows:
    """The rows of a table, by what becomes of each.

    Attributes:
        taken: image -> its row, whose label is the class's name.
        left_out: rows that say nothing to use, and rows that no image goes by.
        wanted: rows of a class, and of a view that is taken.
        by_rule: as in `Matched`.
        labels: of no class -> rows; "" counts those without one.
        views: that are not taken -> rows.
        named: images that any row names.
    """

    taken: dict[str, Row] = field(default_factory=dict)
    left_out: Listed = field(default_factory=Listed)
    wanted: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    named: set[str] = field(default_factory=set)

    def without_image(self) -> Collection[LeftOut]:
        """List the rows of a class that no image goes by."""
        return kept(item for item in self.left_out if item.kind is Kind.ROW_WITHOUT_IMAGE)


def sort_rows(
    settings: Settings, name: str, rows: Iterable[Row], names: Sequence[str]
) -> SortedRows:
    """Find the class and the image of each row.

    Args:
        settings: of the node.
        name: of the table.
        rows: of it.
        names: files below the data folder, "/" separated.

    Raises:
        InputError: two rows give one image two labels, or say else different things of it.
    """
    result = SortedRows()
    index = Index(names)
    by_path: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        path, why = None, _why_not_below(row)
        if not why:
            path, rule, several = index.find(row.file, settings.folders_of(row.label), strict=True)
            why = _why_missing(several)
            if path is not None and rule != EXACT:
                result.by_rule[rule] += 1
        if path is not None:
            by_path[path].append(row)
        elif item := _left_out(settings, name, row, row.file, result):
            result.left_out.add(item)
        else:
            result.wanted += 1
            reason = f"{name}, line {row.line}: {why}"
            result.left_out.add(LeftOut(row.file, Kind.ROW_WITHOUT_IMAGE, reason))
    for path, own in by_path.items():
        _take(settings, name, path, own, result)
    result.named = set(by_path)
    return result


def _take(
    settings: Settings, name: str, path: str, rows: Sequence[Row], result: SortedRows
) -> None:
    """Find the one row of an image, and list its others."""
    _check_one_label(settings, name, path, rows)
    first: Row | None = None
    for row in rows:
        of_class = _class_of(settings, row)
        known = dataclasses.replace(row, label=of_class.name) if of_class else None
        # Before views are looked at: of two, one would be left out in silence.
        if first and known and not first.agrees_with(known):
            raise InputError(
                f"{name}: lines {first.line} and {row.line} contradict each other about {path!r}; "
                "correct or delete one."
            )
        if item := _left_out(settings, name, row, path, result):
            result.left_out.add(item)
        elif first:
            result.wanted += 1
            reason = f"{name}, line {row.line}: says the same as line {first.line}; used once"
            result.left_out.add(LeftOut(path, Kind.METADATA, reason))
        elif known:
            result.wanted += 1
            result.taken[path] = known
        first = first or known


def _check_one_label(settings: Settings, name: str, path: str, rows: Sequence[Row]) -> None:
    said: dict[str, Row] = {}
    for row in rows:
        of_class = _class_of(settings, row)
        if of_class or not _is_empty(row.label):
            said.setdefault(of_class.name if of_class else plain(row.label), row)
    if len(said) > 1 and any(_class_of(settings, row) for row in said.values()):
        one, other, *_ = sorted(said.values(), key=lambda row: row.line)
        raise InputError(
            f"{name}: lines {one.line} and {other.line} give {path!r} two labels, {one.label!r} "
            f"and {other.label!r}: correct or delete one."
        )


def _class_of(settings: Settings, row: Row) -> ClassFolders | None:
    of_label = meant(settings.classes, row.label) or meant_by_any(
        settings.classes, empty=_is_empty(row.label)
    )
    return of_label[0] if len(of_label) == 1 else None


def _is_empty(label: str) -> bool:
    return label.casefold() in UNKNOWN_VALUES


def _left_out(
    settings: Settings, name: str, row: Row, path: str, result: SortedRows
) -> LeftOut | None:
    """Say why a row is not of the images that were asked for, and count it; None where it is."""
    line = f"{name}, line {row.line}"
    if _class_of(settings, row) is None:
        empty = _is_empty(row.label)
        result.labels["" if empty else row.label] += 1
        what = "it has no label" if empty else f"no class has the label {row.label!r}"
        advice = "fill it in" if empty else "to take it, add it to a class's labels"
        return LeftOut(path, Kind.LABEL, f"{line}: {what}; {advice}")
    views = settings.layout.views
    view = row.text.get(VIEW, contract.UNKNOWN)
    if views and plain(view) not in set(map(plain, views)):
        result.views[view] += 1
        return LeftOut(
            path, Kind.VIEW, f"{line}: the view is {view!r}; data.views takes {', '.join(views)}"
        )
    return None


def _why_not_below(row: Row) -> str:
    if not row.file:
        return "no file is named: fill in the column 'file', or delete the row"
    if leaves(row.file):
        return (
            f"{row.file!r} leaves the data folder: write the path relative to the folder, and put "
            "the image below it"
        )
    return ""


def _why_missing(several: Sequence[str]) -> str:
    if several:
        some = some_of(map(repr, several), 2)
        return f"{len(several)} files go by this name ({some}): write the path"
    return "no file below the data folder goes by this name: put it there, or correct the path"
