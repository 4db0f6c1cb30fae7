"""Columns by the names that people give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.radiograph_example_gen.columns import KNOWN_NAMES, normal, recognise
from components.radiograph_example_gen.metadata import parse_metadata
from models.table_values import UNKNOWN_VALUES


@pytest.mark.parametrize(
    "name",
    ["patient_id", "patientid", "Patient ID", "PatientID", "subject_id", "PATIENT-ID", " Subject "],
)
def test_a_patient_by_any_usual_name(name: str) -> None:
    table = parse_metadata(f"file,{name}\na.png,P1\n".encode())
    assert table.rows[0].patient == "P1"
    assert table.columns.overlooked == ()


@pytest.mark.parametrize("name", ["file", "FILE NAME", "filename", "Image Path", "image"])
def test_a_file_by_any_usual_name(name: str) -> None:
    assert parse_metadata(f"{name},sex\na.png,F\n".encode()).rows[0].file == "a.png"


def test_our_own_name_wins_and_what_else_looks_like_one_is_named() -> None:
    columns = recognise(["file", "Subject ID", "patient_id", "patient_name", "Hospital patient no"])
    assert columns.names[1:3] == ("subject id", "patient_id")
    assert columns.overlooked == ("Subject ID", "Hospital patient no")
    assert columns.renamed == {}


def test_without_a_patient_all_that_speaks_of_a_person_is_named() -> None:
    columns = recognise(["file", "Patientennummer", "person", "scanner"])
    assert columns.overlooked == ("Patientennummer", "person")


def test_what_was_renamed_is_said() -> None:
    assert recognise(["File Name", "PatientID", "Gender"]).renamed == {
        "file": "File Name",
        "patient_id": "PatientID",
        "sex": "Gender",
    }


def test_no_two_of_our_columns_share_a_name() -> None:
    names = [normal(name) for ours, others in KNOWN_NAMES.items() for name in (ours, *others)]
    assert len(names) == len(set(names))


@given(st.lists(st.text(min_size=1, max_size=12), unique_by=normal, max_size=6))
def test_there_is_one_name_a_column_and_none_of_ours_twice(header: list[str]) -> None:
    columns = recognise(header)
    assert len(columns.names) == len(header)
    ours = [name for name in columns.names if name in KNOWN_NAMES]
    assert len(ours) == len(set(ours))


@pytest.mark.parametrize("cell", [*sorted(UNKNOWN_VALUES), "NA", "N/A", "None", "NaN", "0000", "0"])
def test_a_word_for_unknown_is_no_patient(cell: str) -> None:
    (row,) = parse_metadata(f'file,patient_id,sex\na.png,"{cell}",F\n'.encode()).rows
    assert row.patient == ""


def test_zeros_are_a_value_elsewhere() -> None:
    (row,) = parse_metadata(b"file,source,age\na.png,000,0\n").rows
    assert row.text["source"] == "000"
    assert row.numbers["age"] == 0
