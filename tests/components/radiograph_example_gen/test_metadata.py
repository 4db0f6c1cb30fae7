"""metadata.csv: what is accepted, what is refused, what is listed."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from components.radiograph_example_gen.discovery import Kind
from components.radiograph_example_gen.matching import match_rows
from components.radiograph_example_gen.metadata import (
    UNKNOWN_VALUES,
    Row,
    further_columns,
    known_patient,
    parse_metadata,
)
from models.table_values import parse_sex
from schema import contract
from schema.table import TableColumn

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
COLUMNS = tuple(contract.METADATA_TEXT_COLUMNS)


def _known(cell: str) -> str:
    kept = cell.strip()
    return contract.UNKNOWN if kept.casefold() in UNKNOWN_VALUES else kept


def _known_sex(cell: str) -> str:
    return parse_sex(cell) or contract.UNKNOWN


@given(st.lists(st.tuples(*[cells] * len(COLUMNS)), max_size=5))
def test_any_cell_survives(rows: list[tuple[str, ...]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["file", *COLUMNS])
    for index, row in enumerate(rows):
        writer.writerow([f"c/{index}.png", *row])
    parsed = parse_metadata(buffer.getvalue().encode()).rows
    assert [row.file for row in parsed] == [f"c/{index}.png" for index in range(len(rows))]
    for found, expected in zip(parsed, rows, strict=True):
        for column, value in zip(COLUMNS, expected, strict=True):
            known = {"patient_id": known_patient, "sex": _known_sex}.get(column, _known)
            assert found.text[column] == known(value.strip())


@pytest.mark.parametrize(
    "cell",
    ["p\u00a01", "p  1", "\u200bp 1", "p 1\ufeff", "\uff50 1", "p\u2009\uff11"],
)
def test_what_nobody_sees_makes_no_other_patient(cell: str) -> None:
    assert known_patient(cell) == "p 1"


@pytest.mark.parametrize("cell", ["0", "000", "0.0", "-0", "-1", "-9", "-99", "-1.0", "#REF!"])
def test_numbers_and_words_that_name_nobody(cell: str) -> None:
    assert known_patient(cell) == contract.UNKNOWN
    assert known_patient(f"1{cell}") != contract.UNKNOWN


def test_a_first_line_that_names_no_columns_is_shown() -> None:
    for line in (b"sep=;", b"# made by a PACS", b"file|patient_id", b'"file,patient_id"'):
        with pytest.raises(InputError, match=re.escape(line.decode().strip('"'))):
            parse_metadata(line + b"\na.png;1\n")


@pytest.mark.parametrize("form", ["utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_are_named(form: str) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        parse_metadata("file,patient_id\na.png,1\n".encode(form))


@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_further_columns_hold_what_was_asked_for_and_all_their_values(
    rows: list[tuple[str, str]],
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["file", " Scanner", "Note", ""])
    for index, row in enumerate(rows):
        writer.writerow([f"c/{index}.png", *row])
    content = buffer.getvalue().encode()
    found = [dict(row.further) for row in parse_metadata(content, further=["scanner"]).rows]
    assert [set(further) for further in found] == [{"scanner"}] * len(rows)
    kept = [[cell.strip() for cell in row] for row in rows]
    known = [[_known(cell) for cell in row] for row in kept]
    assert [further["scanner"] for further in found] == [row[0] for row in known]
    values = further_columns(content)
    assert list(values) == ["scanner", "note"]
    assert list(values.values()) == [{row[i] for row in known} for i in (0, 1)]
    assert all(not row.further for row in parse_metadata(content).rows)


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    message = r"m\.csv has no column 'scaner' \(data\.slice_columns\); it has file, sex, scanner\."
    with pytest.raises(InputError, match=message):
        parse_metadata(b"file,Sex,Scanner\n", "m.csv", ["scanner", "scaner"])


@given(st.binary(max_size=300))
def test_garbage_is_an_input_error_or_a_table(content: bytes) -> None:
    with contextlib.suppress(InputError):
        parse_metadata(content)


def test_byte_order_mark_case_spaces_and_other_columns() -> None:
    table = parse_metadata("\ufeffFile , Age,x\n a.png , 41.5 ,?\n\n".encode())
    assert tuple(table.rows) == (
        Row(2, "a.png", "", dict.fromkeys(COLUMNS, contract.UNKNOWN), {"age": 41.5}),
    )


def test_the_newborn_have_an_age() -> None:
    table = parse_metadata(b"file,age\na.png,0\nb.png,000D\n")
    assert [row.numbers for row in table.rows] == [{"age": 0.0}] * 2
    assert table.problems == ()


@pytest.mark.parametrize("age", ["old", "inf", "-1"])
def test_age_that_is_no_number_is_unknown_and_listed(age: str) -> None:
    table = parse_metadata(f"file,age\na.png,{age}\n".encode())
    assert table.rows[0].numbers == {}
    (problem,) = table.problems
    assert problem.kind is Kind.METADATA
    assert age in problem.reason


def test_unknown_patient_is_no_patient() -> None:
    rows = parse_metadata(b"file,patient_id\na.png,Unknown\nb.png,\nc.png,p\n").rows
    assert [row.patient for row in rows] == ["", "", "p"]


@pytest.mark.parametrize(
    ("cell", "sex"),
    [
        *(("m", "M"), ("M", "M"), ("Male", "M"), ("MÄNNLICH", "M"), ("man", "M")),
        *(("f", "F"), ("FEMALE", "F"), ("w", "F"), ("woman", "F"), ("n/a", contract.UNKNOWN)),
    ],
)
def test_sex_is_read_in_its_known_spellings(cell: str, sex: str) -> None:
    feature = TableColumn("gender", "Gender", "categorical")
    table = parse_metadata(f"file,Gender\na.png,{cell}\n".encode(), table=[feature])
    (row,) = table.rows
    assert row.text["sex"] == sex
    assert row.table == ({} if sex == contract.UNKNOWN else {"gender": sex})
    assert table.problems == ()
    assert table.respelt == ({cell: 1} if sex not in (cell, contract.UNKNOWN) else {})


def test_another_word_for_a_sex_is_missing_and_listed() -> None:
    feature = TableColumn("gender", "sex", "categorical")
    table = parse_metadata(b"file,sex\na.png,O\nb.png,F\n", table=[feature])
    assert [row.text["sex"] for row in table.rows] == [contract.UNKNOWN, "F"]
    assert [dict(row.table) for row in table.rows] == [{}, {"gender": "F"}]
    (problem,) = table.problems
    assert (problem.path, problem.reason) == (
        "a.png",
        "line 2: sex 'O' is none of F and M; treated as unknown",
    )


def test_a_sex_in_numbers_is_a_number_where_a_feature_is_numeric() -> None:
    feature = TableColumn("gender", "sex", "numeric")
    (row,) = parse_metadata(b"file,sex\na.png,1\n", table=[feature]).rows
    assert (row.text["sex"], dict(row.table)) == (contract.UNKNOWN, {"gender": 1.0})


@pytest.mark.parametrize(
    ("header", "cells", "licence"),
    [
        ("licence", " CC0 ", "CC0"),
        ("License", "CC BY 4.0", "CC BY 4.0"),
        ("license,licence", "other,CC0", "CC0"),
        ("license,licence", "other,", "other"),
        ("licence", "", contract.UNKNOWN),
        ("licence", "Unknown", contract.UNKNOWN),
        ("sex", "F", contract.UNKNOWN),
    ],
)
def test_a_licence_by_either_spelling_and_in_no_feature_unless_asked_for(
    header: str, cells: str, licence: str
) -> None:
    (row,) = parse_metadata(f"file,{header}\na.png,{cells}\n".encode()).rows
    assert row.licence == licence
    assert set(row.text) == set(COLUMNS)
    assert row.further == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'file'"),
        (b"name,age\nx,1\n", "no column 'file'"),
        (b"file\n\xff\xfe\n", "not UTF-8"),
        (b'file,age\n"a.png,1\n', "line 2: not CSV"),
        (b"file,age\na.png,1,2\n", "line 2: 3 cells"),
        (b"file,sex,sex\n", "'sex' is there twice"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_metadata(content)


PATHS = ["COVID/images/1.png", "COVID/2.png", "Normal/2.png", "Normal/images/3.png"]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("COVID/2.png", "COVID/2.png"),
        ("./COVID\\2.png", "COVID/2.png"),
        ("COVID/1.png", "COVID/images/1.png"),
        ("3.png", "Normal/images/3.png"),
    ],
)
def test_key_finds_image(key: str, path: str) -> None:
    rows = parse_metadata(f"file\n{key}\n".encode()).rows
    assert list(match_rows(rows, PATHS).by_path) == [path]


@pytest.mark.parametrize("key", ["2.png", "COVID/9.png", '""'])
def test_row_without_image_is_listed(key: str) -> None:
    rows = parse_metadata(f"file,sex\n{key},F\n".encode()).rows
    matched = match_rows(rows, PATHS)
    assert not matched.by_path
    assert [item.kind for item in matched.left_out] == [Kind.ROW_WITHOUT_IMAGE]


def test_same_row_twice_is_used_once_and_listed() -> None:
    rows = parse_metadata(b"file,sex\nCOVID/2.png,F\nCOVID/2.png, F\n").rows
    matched = match_rows(rows, PATHS)
    assert matched.by_path["COVID/2.png"].line == 2
    (twice,) = matched.left_out
    assert "same as line 2" in twice.reason


def test_a_contradiction_counts_in_the_columns_that_are_read() -> None:
    content = b"file,scanner\n3.png,A\nNormal/images/3.png,B\n"
    assert match_rows(parse_metadata(content).rows, PATHS).by_path
    with pytest.raises(InputError, match="lines 2 and 3 contradict"):
        match_rows(parse_metadata(content, further=["scanner"]).rows, PATHS)


@pytest.mark.parametrize("column", ["sex", "licence"])
def test_contradicting_rows_name_both_lines(column: str) -> None:
    rows = parse_metadata(f"file,{column}\n3.png,F\nNormal/images/3.png,M\n".encode()).rows
    with pytest.raises(InputError, match="lines 2 and 3 contradict"):
        match_rows(rows, PATHS)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_cells_are_separated_as_the_header_says(sign: str) -> None:
    lines = [["FILE NAME", "Patient ID", "age"], ["a/1.png", "p1", '"61,5"'], ["a/2.png", "p2", ""]]
    table = parse_metadata("\r\n".join(sign.join(line) for line in lines).encode())
    one, two = table.rows
    assert (one.file, one.patient, one.numbers) == ("a/1.png", "p1", {"age": 61.5})
    assert (two.file, two.patient, two.numbers) == ("a/2.png", "p2", {})


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        *(("61", 61), ("061Y", 61), ("18M", 1.5), ("026W", 26 * 7 / 365.25), ("003D", 3 / 365.25)),
        *(("61 years", 61), ("61.5", 61.5), ("61,5", 61.5), ("1e1", 10)),
    ],
)
def test_ages_as_people_and_dicom_write_them(cell: str, years: float) -> None:
    (row,) = parse_metadata(f'file,age\nx.png,"{cell}"'.encode()).rows
    assert row.numbers == {"age": pytest.approx(years)}


@pytest.mark.parametrize("cell", ["old", "-3", "inf", "61 moons", "adult"])
def test_what_is_no_age_is_listed(cell: str) -> None:
    table = parse_metadata(f"file,age\nx.png,{cell}".encode())
    assert table.rows[0].numbers == {}
    (problem,) = table.problems
    assert problem.reason == f"line 2: age {cell!r} is no number of years; treated as unknown"


def test_rows_are_read_again_where_they_stand() -> None:
    """Whatever stands between them: quoted line ends, signs of several bytes, empty lines."""
    content = '\ufefffile,notes\r\n"ä.png","two\nlines, «é»"\r\n\r\n,\nb.png,"say ""no"""\r\n'
    notes = TableColumn("notes", "notes", "text")
    rows = parse_metadata(content.encode(), table=[notes]).rows
    assert [(row.line, row.file, dict(row.table)) for row in rows] == [
        (2, "ä.png", {"notes": "two\nlines, «é»"}),
        (6, "b.png", {"notes": 'say "no"'}),
    ]
    assert rows[-1] == list(rows)[1]
    assert rows[:1] == [rows[0]]
    with pytest.raises(IndexError):
        rows[2]


def test_a_row_that_nobody_holds_takes_no_memory_but_its_place() -> None:
    count = 20_000
    lines = [f"images/{n:06d}.png,p{n},F,{n % 90}" for n in range(count)]
    content = "\n".join(["file,patient_id,sex,age", *lines]).encode()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    table = parse_metadata(content)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table.rows) == count
    # Words that are met again are known, which are patients here.
    assert (after - before) / count < 250
