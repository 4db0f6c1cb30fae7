"""A flat tree with a table: a row says the class of its image, wherever that lies.

It is one of two layouts; `discovery.discover` is the other, where the folder says the class. Both
end in the same candidates, and all behind them is the same program.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.discovery import (
    METADATA_NAME,
    Candidate,
    Discovery,
    Kind,
    LeftOut,
    has_class_folder,
    is_table,
    link_problem,
    list_names,
)
from components.radiograph_example_gen.flat_tree import (
    files_below,
    leaves,
    named_beside,
    relative_names,
)
from components.radiograph_example_gen.matching import EXACT, Index, Matched, why_none
from components.radiograph_example_gen.metadata import (
    UNKNOWN_VALUES,
    Metadata,
    Row,
    has_label_column,
    parse_metadata,
)
from components.radiograph_example_gen.readers import formats, unread_format
from components.radiograph_example_gen.remarks import (
    CLASSES,
    FILES,
    ROWS,
    Remark,
    of_cells,
    of_columns,
    of_missing_columns,
    of_rows,
    of_short_rows,
    some_of,
)
from components.radiograph_example_gen.settings import (
    AUTO,
    TABLE,
    ClassFolders,
    Settings,
    meant,
    plain,
)
from components.radiograph_example_gen.unread_folders import shown
from schema import contract

_VIEW: Final = "view"
_SHOWN: Final = 6


@dataclass
class _Sorted:
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
    left_out: list[LeftOut] = field(default_factory=list)
    wanted: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    named: set[str] = field(default_factory=set)

    @property
    def without_image(self) -> list[LeftOut]:
        """Rows of a class that no image goes by."""
        return [item for item in self.left_out if item.kind is Kind.ROW_WITHOUT_IMAGE]


def is_by_table(settings: Settings, *tables: tuple[str, bytes]) -> bool:
    """Decide whether the table says the classes.

    Args:
        settings: of the node.
        tables: name and content of the table, if there is one.

    Raises:
        InputError: it was asked to, and there is none.
    """
    kind = settings.layout.kind
    if kind == TABLE and not tables:
        raise InputError(
            f"data.layout is {TABLE}, but there is no {METADATA_NAME} in {settings.data_dir!r}: "
            "put it there, or name the table in data.metadata."
        )
    if kind != AUTO:
        return kind == TABLE
    root = Path(settings.data_dir)
    return (
        bool(tables)
        and root.is_dir()
        and not has_class_folder(root, settings.classes)
        and has_label_column(tables[0][1], settings.layout.columns)
    )


def list_by_table(settings: Settings, name: str, content: bytes) -> tuple[Discovery, Matched]:
    """List the images that a table names, with the classes that it gives them.

    Args:
        settings: of the node.
        name: of the table, its path.
        content: of the table.

    Returns:
        The images, and their rows, in which the label is the class's name.

    Raises:
        InputError: the table is malformed, has no column of labels, contradicts itself, or names
            too many files that are not there; or a class has no image.
    """
    root = Path(settings.data_dir)
    if not root.is_dir():
        raise InputError(
            f"data.dir {str(root)!r} is not a folder: give the folder that the images lie below."
        )
    parsed = parse_metadata(content, name, settings.columns, settings.layout.columns)
    _check_columns(parsed, name, settings)
    paths = [
        path
        for path in files_below(root, follow_links=settings.follow_links)
        if path.resolve() != Path(name).resolve()
    ]
    names, unnameable = relative_names(root, paths)
    names += named_beside(root, dict.fromkeys(row.file for row in parsed.rows), set(names))
    rows = _sort(settings, name, parsed.rows, names)
    _check_missing(name, rows, settings)
    candidates, refused, found = _candidates(settings, name, rows)
    _check_classes(settings, name, rows, found, refused)
    unnamed = [path for path in (*names, *unnameable) if path not in rows.named]
    reason = f"no row of {name} names it"
    beside = [LeftOut(path, Kind.FILE_WITHOUT_ROW, reason) for path in unnamed]
    discovery = Discovery(
        tuple(sorted(candidates)),
        tuple(sorted([*refused, *beside])),
        found,
        tables=tuple(shown(root, path) for path in list_names(root) if is_table(path)),
    )
    remarks = (
        *of_columns(name, parsed.columns),
        *of_cells(name, parsed.problems),
        *of_short_rows(name, parsed.short, len(parsed.rows)),
        *of_rows(name, rows.by_rule, len(rows.without_image), rows.wanted),
        *_remarks(name, parsed, rows, unnamed),
        *of_missing_columns([(name, parsed.columns)]),
    )
    left_out = (*rows.left_out, *parsed.problems)
    by_rule = dict(rows.by_rule)
    return discovery, Matched(rows.taken, left_out, rows.wanted, by_rule, remarks)


def _check_columns(parsed: Metadata, name: str, settings: Settings) -> None:
    wanted = [contract.LABEL_COLUMN, *([_VIEW] if settings.layout.views else [])]
    for column in wanted:
        if column not in parsed.columns.names:
            there = ", ".join(filter(None, parsed.columns.names))
            asks = f"data.layout is {TABLE}" if column != _VIEW else "data.views is given"
            raise InputError(
                f"{name} has no column {column!r}, and {asks}; it has {there}: say which one it "
                f"is in data.columns ({{{column}: …}})."
            )


def _sort(settings: Settings, name: str, rows: Iterable[Row], names: Sequence[str]) -> _Sorted:
    result = _Sorted()
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
            result.left_out.append(item)
        else:
            result.wanted += 1
            reason = f"{name}, line {row.line}: {why}"
            result.left_out.append(LeftOut(row.file, Kind.ROW_WITHOUT_IMAGE, reason))
    for path, own in by_path.items():
        _take(settings, name, path, own, result)
    result.named = set(by_path)
    return result


def _take(settings: Settings, name: str, path: str, rows: Sequence[Row], result: _Sorted) -> None:
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
            result.left_out.append(item)
        elif first:
            result.wanted += 1
            reason = f"{name}, line {row.line}: says the same as line {first.line}; used once"
            result.left_out.append(LeftOut(path, Kind.METADATA, reason))
        elif known:
            result.wanted += 1
            result.taken[path] = known
        first = first or known


def _check_one_label(settings: Settings, name: str, path: str, rows: Sequence[Row]) -> None:
    said: dict[str, Row] = {}
    for row in rows:
        if not _is_empty(row.label):
            of_class = _class_of(settings, row)
            said.setdefault(of_class.name if of_class else plain(row.label), row)
    if len(said) > 1 and any(_class_of(settings, row) for row in said.values()):
        one, other, *_ = sorted(said.values(), key=lambda row: row.line)
        raise InputError(
            f"{name}: lines {one.line} and {other.line} give {path!r} two labels, {one.label!r} "
            f"and {other.label!r}: correct or delete one."
        )


def _class_of(settings: Settings, row: Row) -> ClassFolders | None:
    if _is_empty(row.label):
        return None
    of_label = meant(settings.classes, row.label)
    return of_label[0] if len(of_label) == 1 else None


def _is_empty(label: str) -> bool:
    return not label or plain(label) == contract.UNKNOWN


def _left_out(
    settings: Settings, name: str, row: Row, path: str, result: _Sorted
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
    view = row.text.get(_VIEW, contract.UNKNOWN)
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
        return why_none(several)
    return "no file below the data folder goes by this name: put it there, or correct the path"


def _candidates(
    settings: Settings, name: str, rows: _Sorted
) -> tuple[list[Candidate], list[LeftOut], dict[str, int]]:
    """Return images to inspect, those that are not opened, and how many there are a class."""
    root = Path(settings.data_dir)
    candidates, refused = [], []
    found = dict.fromkeys(settings.class_names, 0)
    for path, row in rows.taken.items():
        found[row.label] += 1
        form = unread_format(path)
        problem = link_problem(root, root / path, follow_links=settings.follow_links)
        if problem:
            refused.append(LeftOut(path, Kind.BAD, f"{name}, line {row.line}: {problem}"))
        elif form:
            reason = f"{form} by its name, and only {formats()} is read"
            refused.append(LeftOut(path, Kind.UNREAD_IMAGE, reason))
        else:
            candidates.append(Candidate(path, row.label))
    return candidates, refused, found


def _check_missing(name: str, rows: _Sorted, settings: Settings) -> None:
    missing = rows.without_image
    limit = settings.limits.max_unmatched_fraction
    if len(missing) <= limit * rows.wanted:
        return
    raise InputError(
        f"{name}: {len(missing)} of {rows.wanted} rows of the classes go by no image, more than "
        f"data.max_unmatched_fraction = {limit}. One of these rows: {missing[0].path!r} "
        f"({missing[0].reason}). Correct the column 'file' (paths relative to the data folder), or "
        "raise the limit where images are missing on purpose."
    )


def _check_classes(
    settings: Settings,
    name: str,
    rows: _Sorted,
    found: Mapping[str, int],
    refused: Iterable[LeftOut],
) -> None:
    unread = Counter(
        rows.taken[item.path].label for item in refused if item.kind is Kind.UNREAD_IMAGE
    )
    for entry in settings.classes:
        if found[entry.name] > unread[entry.name]:
            continue
        others = _counted(rows.labels)
        also = f"; labels of no class there: {others}" if others else ""
        views = f"; views that are not taken: {_counted(rows.views)}" if rows.views else ""
        raise InputError(
            f"class {entry.name!r}: no row of {name} with a label of it "
            f"({' or '.join(map(repr, dict.fromkeys(entry.words)))}) names a {formats()}{also}"
            f"{views}: correct the class's labels in data.classes."
        )


def _counted(counts: Counter[str]) -> str:
    known = [(word, count) for word, count in counts.most_common() if word]
    return some_of((f"{word!r} ({count})" for word, count in known), _SHOWN)


def _remarks(
    name: str, parsed: Metadata, rows: _Sorted, unnamed: Sequence[str]
) -> Iterator[Remark]:
    column = parsed.columns.renamed.get(contract.LABEL_COLUMN, contract.LABEL_COLUMN)
    yield Remark(CLASSES, f"{name}: the column {column!r} says the class of each image")
    empty = rows.labels[""]
    if others := sum(rows.labels.values()) - empty:
        yield Remark(
            ROWS,
            f"{name}: {others} of {len(parsed.rows)} rows have a label of no class, and are left "
            f"out: {_counted(rows.labels)} (left_out.csv); to take them, add the label to a class's "
            "labels in data.classes",
        )
    if empty:
        yield Remark(
            ROWS,
            f"{name}: {empty} of {len(parsed.rows)} rows have no label, and are left out "
            "(left_out.csv)",
        )
    if rows.views:
        yield Remark(
            ROWS,
            f"{name}: {sum(rows.views.values())} of {len(parsed.rows)} rows are of views that "
            f"data.views doesn't take, and are left out: {_counted(rows.views)} (left_out.csv)",
        )
    if unnamed:
        yield Remark(
            FILES,
            f"{len(unnamed)} {'file' if len(unnamed) == 1 else 'files'} below the data folder "
            f"{'is' if len(unnamed) == 1 else 'are'} named by no row of {name}, and not read "
            f"({some_of(map(repr, unnamed))}; left_out.csv)",
        )
