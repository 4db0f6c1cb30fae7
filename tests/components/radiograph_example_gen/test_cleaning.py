"""Copies of an image, what is said against their class, and the list of bad images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import pytest

from common.errors import InputError
from components.radiograph_example_gen.cleaning import Cleaned, check_bad_fraction, clean
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.inspection import Inspection
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.settings import ClassFolders, Limits

CLASSES = (ClassFolders("COVID-19", ("COVID-19", "COVID")), ClassFolders("Normal", ("Normal",)))


def copies(*paths: str) -> list[Inspection]:
    """Byte-identical files, each of the class of its folder."""
    names = {folder: entry.name for entry in CLASSES for folder in entry.folders}
    return [Inspection(path, names[path.split("/")[0]], "sha of all") for path in paths]


def labels(of: Mapping[str, str]) -> dict[str, Row]:
    return {path: Row(line, path, label) for line, (path, label) in enumerate(of.items(), start=2)}


def bad(cleaned: Cleaned) -> dict[str, str]:
    assert all(item.kind is Kind.BAD for item in cleaned.left_out)
    return {item.path: item.reason for item in cleaned.left_out}


def test_label_conflict_does_not_hide_that_copies_are_in_two_classes() -> None:
    # The labels agree on Normal, the folders do not.
    cleaned = clean(copies("COVID/x", "Normal/x"), labels({"COVID/x": "Normal"}), CLASSES)
    assert cleaned.images == ()
    assert bad(cleaned) == {
        "COVID/x": "contradictory label: the folder says 'COVID-19', line 2 of the metadata says "
        "'Normal'; the same file is in COVID-19 and in Normal",
        "Normal/x": "contradictory label: the same file is in COVID-19 and in Normal",
    }


def test_label_conflict_of_one_copy_is_one_of_all() -> None:
    paths = ("Normal/y", "Normal/y2", "Normal/y3")
    rows = labels({"Normal/y": "COVID-19", "Normal/y3": "normal"})
    cleaned = clean(copies(*paths), rows, CLASSES)
    assert cleaned.images == ()
    assert cleaned.duplicates_dropped == 0
    other = "contradictory label: byte-identical with Normal/y, whose folder and metadata disagree"
    assert bad(cleaned) == {
        "Normal/y": "contradictory label: the folder says 'Normal', line 2 of the metadata says "
        "'COVID-19'",
        "Normal/y2": other,
        "Normal/y3": other,
    }


def test_a_label_that_says_nothing_is_no_conflict() -> None:
    rows = labels({"COVID/x": "NA", "Normal/y": "Viral_Pneumonia"})
    images = [
        Inspection("COVID/x", "COVID-19", "sha of x"),
        Inspection("Normal/y", "Normal", "sha of y"),
    ]
    cleaned = clean(images, rows, CLASSES)
    assert [image.inspection.path for image in cleaned.images] == ["COVID/x"]
    assert bad(cleaned)["Normal/y"].endswith("says 'Viral_Pneumonia', which no class is called")


def test_a_class_may_have_the_name_of_an_unknown_value() -> None:
    classes = (ClassFolders("None", ("None",)), ClassFolders("Normal", ("Normal",)))
    rows = labels({"Normal/x": "none"})
    cleaned = clean([Inspection("Normal/x", "Normal", "sha")], rows, classes)
    assert cleaned.images == ()


def test_copies_with_labels_that_agree_are_used_once() -> None:
    rows = labels({"COVID/a": "covid", "COVID-19/a": "COVID-19"})
    cleaned = clean(copies("COVID/a", "COVID-19/a", "COVID/b"), rows, CLASSES)
    assert [image.inspection.path for image in cleaned.images] == ["COVID-19/a"]
    assert {item.kind for item in cleaned.left_out} == {Kind.DUPLICATE}
    assert cleaned.duplicates_dropped == 2


def test_files_that_cannot_be_read_are_no_copies_of_each_other() -> None:
    unread = [
        Inspection("COVID/x", "COVID-19", reason="cannot be read"),
        Inspection("Normal/x", "Normal", reason="cannot be read"),
    ]
    cleaned = clean(unread, labels({"Normal/x": "COVID-19"}), CLASSES)
    assert set(bad(cleaned).values()) == {"cannot be read"}


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What goes through absl's logger, whatever TFX does to its handlers and levels."""
    handler = _Kept()
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


def many(count: int) -> list[LeftOut]:
    listed = [LeftOut(f"Normal/{i:02d}.png", Kind.BAD, f"reason {i}") for i in range(count)]
    return [LeftOut("Normal/notes.txt", Kind.OTHER_FILE, "not a PNG by its name"), *listed]


def test_all_bad_images_are_logged_where_the_message_shows_ten(logged: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_bad_fraction(many(12), 30, Limits())
    assert logged == [f"Left out: Normal/{i:02d}.png: reason {i}" for i in range(12)]
    message = str(caught.value)
    assert "more than data.max_bad_fraction = 0.05" in message
    assert "Normal/09.png: reason 9\n  … and 2 more. logs/run.log in the output folder" in message
    assert "Normal/10.png" not in message


def test_ten_bad_images_are_all_in_the_message(logged: list[str]) -> None:
    with pytest.raises(InputError, match=r"Normal/09\.png: reason 9$") as caught:
        check_bad_fraction(many(10), 30, Limits())
    assert len(logged) == 10
    assert "run.log" not in str(caught.value)


def test_nothing_is_logged_within_the_limit(logged: list[str]) -> None:
    check_bad_fraction(many(12), 240, Limits())
    assert logged == []
