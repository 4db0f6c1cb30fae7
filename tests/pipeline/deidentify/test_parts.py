"""Dates, ages, pseudonyms, the table, the salt: by themselves."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipeline.deidentify.actions import Action, action_of
from pipeline.deidentify.dates import age_between, moved_date, moved_datetime, whole_years
from pipeline.deidentify.pseudonyms import Pseudonyms

DAYS = st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31))


def dicom(day: datetime.date) -> str:
    return day.strftime("%Y%m%d")


@given(DAYS, DAYS, st.integers(1, 4000))
def test_intervals_stay(one: datetime.date, other: datetime.date, days: int) -> None:
    moved = [moved_date(dicom(day), days) for day in (one, other)]
    first, second = (datetime.datetime.strptime(str(day), "%Y%m%d").date() for day in moved)
    assert second - first == other - one
    assert (one - first).days == days


@given(DAYS, st.integers(1, 4000))
def test_a_time_stays_with_its_date(day: datetime.date, days: int) -> None:
    rest = "101112.500000+0100"
    assert moved_datetime(dicom(day) + rest, days) == f"{moved_date(dicom(day), days)}{rest}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024.03.02", "20240301"),
        ("2024-03-02", "20240301"),
        ("20240301 ", "20240229"),
        ("", ""),
        ("20230229", None),
        ("202403", None),
        ("Mueller", None),
        ("00010101", None),
        ("20240301-20240302", None),
    ],
)
def test_dates_of_all_shapes(value: str, expected: str | None) -> None:
    assert moved_date(value, 1) == expected


@pytest.mark.parametrize("value", ["2024", "202403", "20240301Mueller", "2024030110111"])
def test_what_is_no_date_with_time_isnt_moved(value: str) -> None:
    assert moved_datetime(value, 1) is None


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("056Y", "056Y"),
        ("89Y", "089Y"),
        ("090Y", "090Y"),
        ("103Y", "090Y"),
        ("018M", "001Y"),
        ("051W", "000Y"),
        ("012D", "000Y"),
        ("", ""),
        ("56", None),
        ("Mueller", None),
    ],
)
def test_ages_are_in_years_and_the_oldest_are_one(age: str, expected: str | None) -> None:
    assert whole_years(age) == expected


def test_an_age_that_is_missing_comes_from_the_dates() -> None:
    assert age_between("19371124", "20231123") == "085Y"
    assert age_between("19371124", "20231124") == "086Y"
    assert age_between("19271124", "20240101") == "090Y"
    assert age_between("20231124", "20231123") is None
    assert age_between("", "20231123") is None


@given(st.text(max_size=64))
def test_pseudonyms_fit_their_kinds_and_depend_on_the_salt(value: str) -> None:
    one, other = Pseudonyms(b"1" * 16), Pseudonyms(b"2" * 16)
    assert one.of("patient", value) == Pseudonyms(b"1" * 16).of("patient", value)
    assert one.of("patient", value) != other.of("patient", value)
    assert one.of("patient", value) != one.of("study", value)
    assert len(one.of("patient", value)) == 16
    uid = one.uid(f"1.2.3 {value}")
    assert UID(uid).is_valid and uid.startswith("2.25.")
    assert uid != other.uid(f"1.2.3 {value}")
    assert 366 <= one.days_back(value) <= 3653


def test_uids_that_dicom_registered_stay() -> None:
    assert Pseudonyms(b"1" * 16).uid(ExplicitVRLittleEndian) == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("PatientName", Action.EMPTY),
        ("PatientBirthDate", Action.EMPTY),
        ("PatientAge", Action.KEEP),
        ("PatientSex", Action.KEEP),
        ("PatientWeight", Action.REMOVE),
        ("StudyDate", Action.SHIFT),
        ("AcquisitionDateTime", Action.SHIFT),
        ("StudyInstanceUID", Action.NEW_UID),
        ("SourceImageSequence", Action.NEW_UID),
        ("InstitutionName", Action.DUMMY),
        ("RequestAttributesSequence", Action.REMOVE),
        ("Rows", None),
    ],
)
def test_the_tables_actions(keyword: str, action: Action | None) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert action_of(Tag(tag)) is action


def test_groups_of_the_table() -> None:
    for tag in (0x00091001, 0x50040010, 0x60023000, 0x60FE0022):
        assert action_of(Tag(tag)) is Action.REMOVE
