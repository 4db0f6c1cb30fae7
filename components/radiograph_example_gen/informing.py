"""DICOM headers beside the tables' rows. A table wins; a contradiction is listed."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.headers import (
    DAYS,
    INTENT,
    NO_WINDOW,
    SHIFTED_DAY,
)
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.listed import joined
from components.radiograph_example_gen.matching import Matched
from components.radiograph_example_gen.metadata import PATIENT_COLUMN, Row
from components.radiograph_example_gen.remarks import IMAGES, ROWS, Remark, of_missing_columns
from components.radiograph_example_gen.table_cells import from_header
from models.rendering import DEFAULT, Rendering
from schema import contract
from schema.table import TableColumn

# Tables have years of another day than that of the image.
_YEARS: Final = 1.0


def informed(
    matched: Matched,
    inspections: Sequence[Inspection],
    columns: Sequence[str],
    table: Sequence[TableColumn] = (),
    rendering: Rendering = DEFAULT,
) -> Matched:
    """Add what the images' headers say to their rows.

    Args:
        matched: the tables' rows.
        inspections: of all images; those without a header keep what they have.
        columns: further ones that the run slices by, of which a header may know some.
        table: columns that models take, likewise.
        rendering: with which DICOMs were converted.

    Returns:
        With what neither tables nor headers say; and where images have a header, with more rows,
        and with what contradicts.
    """
    with_header = [item for item in inspections if item.header]
    said = {name for item in with_header for name in (*item.header, *item.numbers)}
    matched = dataclasses.replace(
        matched, remarks=(*matched.remarks, *of_missing_columns(matched.tables, said))
    )
    if not with_header:
        return matched
    days = dict(_days(with_header))
    by_path = dict(matched.by_path)
    left_out = []
    for item in with_header:
        row = by_path.get(item.path)
        by_path[item.path] = _joined(item, row, days.get(item.path), columns, table)
        reasons = [f"the DICOM header's {name} isn't known here" for name in item.unread]
        if row:
            reasons += _contradictions(item, row)
        left_out += [LeftOut(item.path, Kind.METADATA, reason) for reason in reasons]
    contradicting = len(left_out) - sum(len(item.unread) for item in with_header)
    patients = list(_patients(with_header, matched.by_path))
    return dataclasses.replace(
        matched,
        by_path=by_path,
        left_out=joined(matched.left_out, (*left_out, *patients)),
        remarks=(
            *matched.remarks,
            *_remarks(with_header, contradicting + len(patients), rendering),
        ),
    )


def _joined(
    item: Inspection,
    row: Row | None,
    days: str | None,
    columns: Sequence[str],
    table: Sequence[TableColumn],
) -> Row:
    said = {**item.header, **({DAYS: days} if days else {})}
    known = row or Row(line=0, file=item.path)

    def first(name: str, of_table: str) -> str:
        return said.get(name, contract.UNKNOWN) if of_table == contract.UNKNOWN else of_table

    return dataclasses.replace(
        known,
        text={
            name: first(name, known.text.get(name, contract.UNKNOWN))
            for name in contract.METADATA_TEXT_COLUMNS
        },
        numbers={
            **{n: v for n, v in item.numbers.items() if n in contract.METADATA_NUMBER_COLUMNS},
            **known.numbers,
        },
        further={name: first(name, known.further.get(name, contract.UNKNOWN)) for name in columns},
        table=from_header(table, known.table, said, item.numbers),
    )


def _contradictions(item: Inspection, row: Row) -> Iterator[str]:
    where = f"line {row.line} of the metadata says"
    for name, value in item.header.items():
        told = row.text.get(name, row.further.get(name, contract.UNKNOWN))
        # Views have words behind them there ("AP Supine").
        alike = told.casefold().split()[:1] == value.casefold().split()[:1]
        if name != PATIENT_COLUMN and told != contract.UNKNOWN and not alike:
            yield f"{where} {name} {told!r}, the DICOM header {value!r}; the metadata count"
    for name, number in item.numbers.items():
        if name in row.numbers and abs(row.numbers[name] - number) > _YEARS:
            yield (
                f"{where} {name} {row.numbers[name]:g}, the DICOM header {number:g}; the metadata "
                "count"
            )


def _patients(images: Iterable[Inspection], rows: Mapping[str, Row]) -> Iterator[LeftOut]:
    """List patients that are one in the headers, and several in the tables, or the other way."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    meant: dict[str, dict[str, str]] = defaultdict(dict)
    for item in sorted(images, key=lambda item: item.path):
        row, hashed = rows.get(item.path), item.header.get(PATIENT_COLUMN)
        if row and row.patient and hashed:
            told[hashed].setdefault(row.patient, item.path)
            meant[row.patient].setdefault(hashed, item.path)
    for names, what in ((told, "several patients"), (meant, "one patient")):
        other = "one" if names is told else "several"
        for paths in names.values():
            first, *more = paths.values()
            for path in more:
                reason = (
                    f"the metadata say {what} of this image and {first}, the DICOM headers "
                    f"{other}; the metadata count"
                )
                yield LeftOut(path, Kind.METADATA, reason)


def _days(images: Iterable[Inspection]) -> Iterator[tuple[str, str]]:
    """Yield path and days since the patient's first image."""
    of_patient: dict[str, list[Inspection]] = defaultdict(list)
    for item in images:
        if SHIFTED_DAY in item.numbers:
            of_patient[item.header[PATIENT_COLUMN]].append(item)
    for items in of_patient.values():
        first = min(item.numbers[SHIFTED_DAY] for item in items)
        for item in items:
            yield item.path, f"{item.numbers[SHIFTED_DAY] - first:.0f}"


def _remarks(
    images: Sequence[Inspection], contradictions: int, rendering: Rendering
) -> Iterator[Remark]:
    usable = [item for item in images if not item.reason]
    bare = sum(NO_WINDOW in item.header for item in usable)
    if bare:
        yield Remark(
            IMAGES,
            f"{bare} of {len(usable)} DICOM images have neither window nor VOI LUT: they are shown "
            f"over {_range(rendering)}",
        )
    intents = Counter(item.header.get(INTENT, "") for item in usable)
    if raw := intents["FOR PROCESSING"]:
        yield Remark(
            IMAGES,
            f"{raw} of {len(usable)} DICOM images are FOR PROCESSING, which no maker means to be "
            "looked at",
        )
    if contradictions:
        yield Remark(
            ROWS,
            f"metadata and DICOM headers contradict each other {contradictions} times "
            "(left_out.csv): the metadata count",
        )


def _range(rendering: Rendering) -> str:
    """Say over which values an image without a window is shown."""
    cut = rendering.percentile
    if not cut:
        return "the whole range of BitsStored"
    return (
        f"the range of their pixels without the darkest and the brightest {cut:g} % "
        "(data.dicom_percentile)"
    )
