"""What lies in the data folder, before any image is opened: one folder, or one a span."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.radiograph_example_gen.discovery import (
    Candidate,
    Discovery,
    Kind,
    LeftOut,
    discover,
    find_metadata,
)
from components.radiograph_example_gen.metadata import (
    Matched,
    Row,
    match_rows,
    parse_metadata,
    read_metadata_file,
)
from components.radiograph_example_gen.settings import Settings, SpanFolder


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
    """

    found: Discovery
    tables: tuple[Table, ...]

    @property
    def metadata(self) -> bytes | None:
        """What the fingerprint has to know of the tables; None where there are none."""
        if [table.span for table in self.tables] == [None]:
            return self.tables[0].content
        parts = [
            json.dumps([table.span.folder if table.span else "", len(table.content)]).encode()
            + table.content
            for table in self.tables
        ]
        return b"".join(parts) or None


def list_folder(settings: Settings) -> Listing:
    """Looks at the names of the images, and reads the metadata.

    Raises:
        InputError: a folder or a metadata file can't be used at all.
    """
    if not settings.spans:
        found = discover(settings.data_dir, settings.classes)
        return Listing(found, tuple(_read(settings.data_dir, settings.metadata_csv)))
    root = Path(settings.data_dir)
    tables = list(_read(settings.data_dir, settings.metadata_csv) if settings.metadata_csv else ())
    parts = []
    for span in settings.spans:
        parts.append((span, discover(root / span.folder, settings.classes)))
        if not settings.metadata_csv:
            tables += _read(str(root / span.folder), span.metadata_csv, span)
    return Listing(_together(parts), tuple(tables))


def match(settings: Settings, listing: Listing) -> Matched:
    """Finds the images' rows in the metadata.

    Raises:
        InputError: a table is malformed, or contradicts itself.
    """
    found = listing.found
    paths = [candidate.path for candidate in found.candidates]
    paths.extend(item.path for item in found.left_out if item.kind is Kind.BAD)
    by_path: dict[str, Row] = {}
    left_out: list[LeftOut] = []
    for table in listing.tables:
        taken = table.span is None or table.span.taken
        parsed = parse_metadata(table.content, table.name, settings.columns if taken else ())
        rows = list(parsed.rows)
        spans = [table.span] if table.span else settings.spans
        for span in spans:
            shared = table.span is None
            matched = _match_span(span, rows, paths, table.name, shared=shared)
            by_path |= matched.by_path
            if span.taken:
                left_out += matched.left_out
        if not settings.spans:
            matched = match_rows(rows, paths, table.name)
            by_path |= matched.by_path
            left_out += matched.left_out
        if taken:
            prefix = f"{table.span.folder}/" if table.span else ""
            left_out += [_prefixed(prefix, item) for item in parsed.problems]
    return Matched(by_path, tuple(left_out))


def _match_span(
    span: SpanFolder, rows: Iterable[Row], paths: Iterable[str], name: str, *, shared: bool
) -> Matched:
    """Rows of one span; those of a shared table start with the span's folder."""
    prefix = f"{span.folder}/"
    own = rows
    if shared:
        own = [
            dataclasses.replace(row, file=row.file.removeprefix(prefix))
            for row in rows
            if row.file.startswith(prefix)
        ]
    inside = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    matched = match_rows(list(own), inside, name)
    return Matched(
        {prefix + path: row for path, row in matched.by_path.items()},
        tuple(_prefixed(prefix, item) for item in matched.left_out),
    )


def _read(folder: str, path: str | None, span: SpanFolder | None = None) -> Iterator[Table]:
    table = find_metadata(folder, path)
    if table is not None:
        yield Table(str(table), read_metadata_file(table), span)


def _together(parts: Iterable[tuple[SpanFolder, Discovery]]) -> Discovery:
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    found: dict[str, int] = {}
    for span, part in parts:
        prefix = f"{span.folder}/"
        candidates += [Candidate(prefix + each.path, each.class_name) for each in part.candidates]
        if span.taken:
            left_out += [_prefixed(prefix, item) for item in part.left_out]
            for name, count in part.found.items():
                found[name] = found.get(name, 0) + count
    return Discovery(tuple(sorted(candidates)), tuple(sorted(left_out)), found)


def _prefixed(prefix: str, item: LeftOut) -> LeftOut:
    return dataclasses.replace(item, path=prefix + item.path)
