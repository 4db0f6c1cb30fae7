"""A flat tree with a table: a row says the class of its image, wherever that lies.

It is one of two layouts; `discovery.discover` is the other, where the folder says the class. Both
end in the same candidates, and all behind them is the same program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    inside,
    named_beside,
    relative_names,
)
from components.radiograph_example_gen.listed import joined
from components.radiograph_example_gen.matching import Matched
from components.radiograph_example_gen.metadata import (
    Metadata,
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
    of_rows,
    of_short_rows,
    of_spellings,
    some_of,
)
from components.radiograph_example_gen.settings import (
    AUTO,
    TABLE,
    Settings,
)
from components.radiograph_example_gen.table_rows import VIEW, SortedRows, sort_rows
from components.radiograph_example_gen.unread_folders import shown
from schema import contract

_SHOWN: Final = 6


def is_by_table(settings: Settings, *tables: tuple[str, bytes]) -> bool:
    """Decide whether the table says the classes.

    Args:
        settings: of the node.
        tables: name and content of the table, if there is one.

    Raises:
        InputError: it was asked to, and there is none, or no data folder.
    """
    kind = settings.layout.kind
    root = Path(settings.data_dir)
    if kind == TABLE and not root.is_dir():
        raise InputError(
            f"data.dir {str(root)!r} is not a folder: give the folder that the images lie below."
        )
    if kind == TABLE and not tables:
        raise InputError(
            f"data.layout is {TABLE}, but there is no {METADATA_NAME} in {settings.data_dir!r}: "
            "put it there, or name the table in data.metadata."
        )
    if kind != AUTO:
        return kind == TABLE
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
    parsed = parse_metadata(
        content, name, settings.columns, settings.layout.columns, settings.table
    )
    _check_columns(parsed, name, settings)
    own = {Path(name), root / (inside(settings.data_dir, name) or "")}
    paths = files_below(root, follow_links=settings.follow_links)
    names, unnameable = relative_names(root, (path for path in paths if path not in own))
    names += named_beside(root, (row.file for row in parsed.rows), set(names))
    rows = sort_rows(settings, name, parsed.rows, names)
    missing = rows.without_image()
    _check_missing(name, missing, rows.wanted, settings)
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
        *of_spellings(name, parsed.respelt),
        *of_short_rows(name, parsed.short, len(parsed.rows)),
        *of_rows(name, rows.by_rule, len(missing), len(parsed.rows)),
        *_remarks(name, parsed, rows, unnamed),
    )
    left_out = joined(rows.left_out.done(), parsed.problems)
    by_rule = dict(rows.by_rule)
    tables = ((name, parsed.columns),)
    return discovery, Matched(rows.taken, left_out, rows.wanted, by_rule, remarks, tables)


def _check_columns(parsed: Metadata, name: str, settings: Settings) -> None:
    wanted = [contract.LABEL_COLUMN, *([VIEW] if settings.layout.views else [])]
    for column in wanted:
        if column not in parsed.columns.names:
            there = ", ".join(filter(None, parsed.columns.names))
            asks = f"data.layout is {TABLE}" if column != VIEW else "data.views is given"
            raise InputError(
                f"{name} has no column {column!r}, and {asks}; it has {there}: say which one it "
                f"is in data.columns ({{{column}: …}})."
            )


def _candidates(
    settings: Settings, name: str, rows: SortedRows
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


def _check_missing(name: str, missing: Collection[LeftOut], rows: int, settings: Settings) -> None:
    limit = settings.limits.max_unmatched_fraction
    if len(missing) <= limit * rows:
        return
    first = next(iter(missing))
    raise InputError(
        f"{name}: {len(missing)} of {rows} rows of the classes go by no image, more than "
        f"data.max_unmatched_fraction = {limit}. One of these rows: {first.path!r} "
        f"({first.reason}). Correct the column 'file' (paths relative to the data folder), or "
        "raise the limit where images are missing on purpose."
    )


def _check_classes(
    settings: Settings,
    name: str,
    rows: SortedRows,
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
    known = sorted((-count, word) for word, count in counts.items() if word)
    return some_of((f"{word!r} ({-count})" for count, word in known), _SHOWN)


def _remarks(
    name: str, parsed: Metadata, rows: SortedRows, unnamed: Sequence[str]
) -> Iterator[Remark]:
    column = parsed.columns.renamed.get(contract.LABEL_COLUMN, contract.LABEL_COLUMN)
    yield Remark(CLASSES, f"{name}: the column {column!r} says the class of each image")
    empty = rows.labels[""]
    if others := sum(rows.labels.values()) - empty:
        yield Remark(
            ROWS,
            f"{name}: {others} of {len(parsed.rows)} rows have a label of no class, and are left "
            f"out: {_counted(rows.labels)} (left_out.csv); to take them, add the label to the "
            "labels of a class in data.classes",
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
