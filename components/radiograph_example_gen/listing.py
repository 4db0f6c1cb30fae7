"""The content of the data folder, before any image is opened: one folder, or one a span."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from components.radiograph_example_gen.columns import Columns
from components.radiograph_example_gen.discovery import (
    METADATA_NAME,
    Candidate,
    Discovery,
    Kind,
    LeftOut,
    discover,
    find_metadata,
)
from components.radiograph_example_gen.flat_tree import inside
from components.radiograph_example_gen.listed import joined, kept
from components.radiograph_example_gen.matching import Matched, match_rows
from components.radiograph_example_gen.metadata import Row, parse_metadata, read_metadata_file
from components.radiograph_example_gen.remarks import (
    Remark,
    check_unmatched,
    of_cells,
    of_columns,
    of_rows,
    of_short_rows,
    of_spellings,
    of_tables,
)
from components.radiograph_example_gen.settings import TABLE, Settings, SpanFolder
from components.radiograph_example_gen.table_cells import check_without_table
from components.radiograph_example_gen.tabled import is_by_table, list_by_table


@dataclass(frozen=True)
class Table:
    """A metadata file.

    Attributes:
        name: as messages call it.
        content: its bytes.
        span: whose images it describes; None for all.
    """

    name: str
    content: bytes
    span: SpanFolder | None = None


@dataclass(frozen=True)
class Listing:
    """Names of images, and the metadata.

    Attributes:
        found: of all spans; `found` and `left_out` in it only of those that are taken.
        tables: the metadata files.
        matched: rows that say the classes; None where folders do everywhere.
        by_folders: the tables whose rows are about the images of class folders.
    """

    found: Discovery
    tables: tuple[Table, ...]
    matched: Matched | None = None
    by_folders: tuple[Table, ...] = ()

    @property
    def metadata(self) -> bytes | None:
        """The tables as the fingerprint has to know them; None where there are none."""
        if [table.span for table in self.tables] == [None]:
            return self.tables[0].content
        parts = [
            json.dumps([table.span.folder if table.span else "", len(table.content)]).encode()
            + table.content
            for table in self.tables
        ]
        return b"".join(parts) or None


def list_folder(settings: Settings) -> Listing:
    """Look at the names of the images, and read the metadata.

    Raises:
        InputError: a folder or a metadata file can't be used at all.
    """
    if not settings.spans:
        there = Path(settings.data_dir).is_dir()
        tables = list(_read(settings.data_dir, settings.metadata_csv) if there else ())
        if is_by_table(settings, *((table.name, table.content) for table in tables)):
            (table,) = tables
            found, matched = list_by_table(settings, table.name, table.content)
            return Listing(found, tuple(tables), matched)
        found = discover(settings.data_dir, settings.classes, follow_links=settings.follow_links)
        return Listing(found, tuple(tables), by_folders=tuple(tables))
    if settings.metadata_csv and settings.layout.kind == TABLE:
        raise InputError(
            f"data.metadata: with spans and data.layout: {TABLE}, each span has a table of its "
            f"own: put {METADATA_NAME} into each span's folder, or write {{SPAN}} into the path."
        )
    return _list_spans(settings)


def _list_spans(settings: Settings) -> Listing:
    """List span by span; in each, its own table or its folders say the classes."""
    root = Path(settings.data_dir)
    any_rows = dataclasses.replace(settings.limits, max_unmatched_fraction=1.0)
    shared = list(_read(settings.data_dir, settings.metadata_csv) if settings.metadata_csv else ())
    tables, by_folders, parts, matched = shared[:], shared[:], [], []
    for span in settings.spans:
        folder = str(root / span.folder)
        own = [] if settings.metadata_csv else list(_read(folder, span.metadata_csv, span))
        # As of a folder without spans; of a span that isn't taken, only places are asked for.
        alone = dataclasses.replace(
            settings,
            data_dir=folder,
            metadata_csv=span.metadata_csv,
            spans=(),
            columns=settings.columns if span.taken else (),
            limits=settings.limits if span.taken else any_rows,
        )
        if is_by_table(alone, *((table.name, table.content) for table in own)):
            (table,) = own
            part, rows = list_by_table(alone, table.name, table.content)
            matched.append((span, rows))
        else:
            part = discover(folder, settings.classes, follow_links=settings.follow_links)
            by_folders += own
        parts.append((span, part))
        tables += own
    rows_together = _rows_together(matched) if matched else None
    return Listing(_together(parts), tuple(tables), rows_together, tuple(by_folders))


def match(settings: Settings, listing: Listing) -> Matched:
    """Find the images' rows in the metadata.

    Raises:
        InputError: a table is malformed, contradicts itself, or is about other images.
    """
    found = listing.found
    if not listing.tables:
        check_without_table(settings.table, settings.data_dir)
    paths = [candidate.path for candidate in found.candidates]
    paths.extend(item.path for item in found.left_out if item.kind is Kind.BAD)
    read = (inside(settings.data_dir, table.name) for table in listing.tables)
    remarks: list[Remark] = list(of_tables(found.tables, filter(None, read)))
    before = listing.matched or Matched({}, ())
    by_path: dict[str, Row] = dict(before.by_path)
    left_out: list[Collection[LeftOut]] = [before.left_out]
    remarks += before.remarks
    known: list[tuple[str, Columns]] = list(before.tables)
    for table in listing.by_folders:
        taken = table.span is None or table.span.taken
        further = settings.columns if taken else ()
        features = settings.table if taken else ()
        parsed = parse_metadata(
            table.content, table.name, further, settings.layout.columns, features
        )
        rows = parsed.rows
        spans = [table.span] if table.span else settings.spans
        parts = [
            (span.taken, _match_span(settings, span, rows, paths, table)) for span in spans
        ] or [(True, match_rows(rows, paths, table.name, settings.folders_of))]
        for _, part in parts:
            by_path |= part.by_path
        used = [part for is_taken, part in parts if is_taken]
        left_out += [part.left_out for part in used]
        if taken:
            prefix = f"{table.span.folder}/" if table.span else ""
            left_out.append(_prefixed_all(prefix, parsed.problems))
            own = [path for path in paths if path.startswith(prefix)]
            count = sum(part.rows for part in used)
            without = kept(item for part in used for item in part.without_image)
            if used:
                check_unmatched(table.name, count, without, own, by_path, settings.limits)
            by_rule = sum((Counter(part.by_rule) for part in used), Counter[str]())
            remarks += [
                *of_columns(table.name, parsed.columns),
                *of_cells(table.name, parsed.problems),
                *of_spellings(table.name, parsed.respelt),
                *of_short_rows(table.name, parsed.short, len(parsed.rows)),
                *of_rows(table.name, by_rule, len(without), count),
            ]
            known.append((table.name, parsed.columns))
    return dataclasses.replace(
        before,
        by_path=by_path,
        left_out=joined(*left_out),
        remarks=tuple(remarks),
        tables=tuple(known),
    )


def _match_span(
    settings: Settings, span: SpanFolder, rows: Sequence[Row], paths: Iterable[str], table: Table
) -> Matched:
    """Match rows of one span; those of a shared table start with the span's folder."""
    prefix = f"{span.folder}/"
    own: Iterable[Row] = rows
    if table.span is None:
        own = (
            dataclasses.replace(row, file=row.file.removeprefix(prefix))
            for row in rows
            if row.file.startswith(prefix)
        )
    images = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    matched = match_rows(own, images, table.name, settings.folders_of)
    return dataclasses.replace(
        matched,
        by_path={prefix + path: row for path, row in matched.by_path.items()},
        left_out=_prefixed_all(prefix, matched.left_out),
    )


def _read(folder: str, path: str | None, span: SpanFolder | None = None) -> Iterator[Table]:
    table = find_metadata(folder, path)
    if table is not None:
        yield Table(str(table), read_metadata_file(table), span)


def _rows_together(parts: Sequence[tuple[SpanFolder, Matched]]) -> Matched:
    """Join the rows of spans whose tables say the classes; remarks only of those taken."""
    taken = [(f"{span.folder}/", part) for span, part in parts if span.taken]
    return Matched(
        {
            f"{span.folder}/{path}": row
            for span, part in parts
            for path, row in part.by_path.items()
        },
        joined(*(_prefixed_all(prefix, part.left_out) for prefix, part in taken)),
        sum(part.rows for _, part in taken),
        sum((Counter(part.by_rule) for _, part in taken), Counter[str]()),
        tuple(remark for _, part in taken for remark in part.remarks),
        tuple(table for _, part in taken for table in part.tables),
    )


def _together(parts: Iterable[tuple[SpanFolder, Discovery]]) -> Discovery:
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    found: dict[str, int] = {}
    beside: dict[str, int] = {}
    tables: list[str] = []
    unread: dict[str, int] = {}
    for span, part in parts:
        prefix = f"{span.folder}/"
        candidates += [Candidate(prefix + each.path, each.class_name) for each in part.candidates]
        if span.taken:
            left_out += [_prefixed(prefix, item) for item in part.left_out]
            for name, count in part.found.items():
                found[name] = found.get(name, 0) + count
            tables += [prefix + name for name in part.tables]
            unread |= {prefix + name: count for name, count in part.unread.items()}
            beside |= {prefix + name: count for name, count in part.beside.items()}
    return Discovery(
        tuple(sorted(candidates)), tuple(sorted(left_out)), found, beside, tuple(tables), unread
    )


def _prefixed_all(prefix: str, items: Collection[LeftOut]) -> Collection[LeftOut]:
    return kept(_prefixed(prefix, item) for item in items) if prefix else items


def _prefixed(prefix: str, item: LeftOut) -> LeftOut:
    return dataclasses.replace(item, path=prefix + item.path)
