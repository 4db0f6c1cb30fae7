"""Ids and images that differ and may be the same are named, and no others."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.likeness import of_copies, of_ids
from components.radiograph_example_gen.metadata import Row


def _ids(*patients: str) -> list[str]:
    rows = [Row(n, f"{n}.png", text={"patient_id": name}) for n, name in enumerate(patients)]
    return [remark.sentence for remark in of_ids([None, *rows])]


def _copies(images: Iterable[Inspection]) -> list[str]:
    return [remark.sentence for remark in of_copies(list(images))]


def _image(path: str, sha256: str, mean: float = 100.0, std: float = 50.0) -> Inspection:
    return Inspection(
        path, path.partition("/")[0], sha256, 9, 40, 40, bit_depth=8, mean=mean, std=std
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "12.0"),
        ("12,00", "12"),
        ("007", "7"),
        ("P007", "P7"),
        ("p01", "P01"),
        ("p-01", "p_01"),
        ("'007", "007"),
        ("Doe, John", "DOE,JOHN"),
    ],
)
def test_ids_that_look_alike_are_named(one: str, other: str) -> None:
    (said,) = _ids(one, other, one, "somebody else", "unknown")
    assert said.startswith("2 ids of patients look alike (")
    assert repr(one) in said and repr(other) in said


def test_ids_that_differ_are_not() -> None:
    assert _ids("7", "70", "1-12", "11-2", "p1", "q1", "1.2.840.0", "1.2.840", "?!", "!?") == []


def test_numbers_that_a_spreadsheet_shortened() -> None:
    (said,) = _ids("1.23457E+11", "1,2e+10", "1E5", "E+3")
    assert said.startswith("2 ids of patients are as a spreadsheet shortens long numbers")


def test_copies_that_were_saved_anew_are_named() -> None:
    images = [_image("A/1.png", "x"), _image("B/2.png", "y"), _image("A/3.png", "z", mean=101.0)]
    (said,) = _copies(images)
    assert said.startswith("2 images have the very grey levels of another one")
    assert "'A/1.png' and 'B/2.png'" in said and "; 1 of these images is in two" in said
    (said,) = _copies([_image("A/1.png", "x"), _image("A/2.png", "y")])
    assert "classes" not in said


def test_other_images_are_not() -> None:
    assert _copies([]) == _copies([_image("A/1.png", "x"), _image("A/2.png", "x")]) == []
    assert _copies([_image("A/1.png", "x", std=0.0), _image("A/2.png", "y", std=0.0)]) == []
