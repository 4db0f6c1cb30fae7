"""Rows find their images as people write them, and none that is not theirs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.matching import (
    AS_A_URL,
    AS_WRITTEN,
    BY_CLASS,
    FEWER_FOLDERS,
    WITHOUT_SUFFIX,
    match_rows,
)
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.remarks import check_unmatched
from components.radiograph_example_gen.settings import Limits

PATHS = [
    "Normal/images/Normal-1.png",
    "Normal/images/Normal-2.png",
    "COVID/images/COVID-1.png",
    "COVID/images/1.2.840.113.png",
    "Grüße/a.png",
]


def _found(
    key: str, paths: Sequence[str] = PATHS, label: str = ""
) -> tuple[str | None, str | None]:
    folders = {"Normal": ("Normal",), "COVID-19": ("COVID", "COVID-19")}
    matched = match_rows([Row(2, key, label)], paths, folders_of=lambda name: folders.get(name, ()))
    return next(iter(matched.by_path), None), next(iter(matched.by_rule), None)


@pytest.mark.parametrize(
    ("key", "path", "rule"),
    [
        ("Normal/images/Normal-1.png", PATHS[0], None),
        ("Normal/Normal-1.png", PATHS[0], None),
        ("Normal-1.png", PATHS[0], None),
        ("NORMAL/IMAGES/normal-1.PNG", PATHS[0], AS_WRITTEN),
        ("NORMAL-1", PATHS[0], WITHOUT_SUFFIX),
        ("normal/normal-1.jpg", PATHS[0], WITHOUT_SUFFIX),
        ("normal/normal-1.jfif", PATHS[0], WITHOUT_SUFFIX),
        ("normal/normal-1.nii.gz", PATHS[0], WITHOUT_SUFFIX),
        # A dot in a name begins no extension.
        ("1.2.840.113", PATHS[3], WITHOUT_SUFFIX),
        ("data/v2/Normal/images/Normal-2.png", PATHS[1], FEWER_FOLDERS),
        ("C:/set/COVID-1.png", PATHS[2], FEWER_FOLDERS),
        (unicodedata.normalize("NFD", "Grüße/a.png"), PATHS[4], AS_WRITTEN),
        ("Gr%C3%BC%C3%9Fe/a.png", PATHS[4], AS_A_URL),
        ("file:///data/Gr%C3%BC%C3%9Fe/a.png", PATHS[4], AS_A_URL),
        ("https://host.org/set/COVID/COVID-1.png?raw=true#top", PATHS[2], AS_A_URL),
        ("Grüße/images/a.png", PATHS[4], FEWER_FOLDERS),
    ],
)
def test_a_row_finds_its_image(key: str, path: str, rule: str | None) -> None:
    assert _found(key) == (path, rule)


@pytest.mark.parametrize("key", ["", "Normal-3.png", "COVID/Normal-1.png", "Normal", "png"])
def test_what_is_no_ones_finds_none(key: str) -> None:
    assert _found(key) == (None, None)


def test_one_name_in_two_classes_is_told_apart_by_the_label() -> None:
    paths = ["Normal/1.png", "COVID/1.png"]
    assert _found("1.png", paths) == (None, None)
    assert _found("1.png", paths, "COVID-19") == ("COVID/1.png", BY_CLASS)
    assert _found("1", paths, "Normal") == ("Normal/1.png", BY_CLASS)
    assert _found("1.png", paths, "Pneumonia") == (None, None)


names = st.text("aAüÜ1.-_ ", min_size=1, max_size=6).filter(lambda text: text.strip(". "))
trees = st.lists(st.tuples(st.sampled_from(["A", "B/images"]), names), min_size=1, max_size=8)


@given(trees)
def test_an_exact_path_is_always_its_own_image(files: list[tuple[str, str]]) -> None:
    paths = sorted({f"{folder}/{name}.png" for folder, name in files})
    matched = match_rows([Row(n, path) for n, path in enumerate(paths, 2)], paths)
    assert {path: row.file for path, row in matched.by_path.items()} == {p: p for p in paths}
    assert matched.by_rule == {}


@given(trees, st.sampled_from([str.upper, str.lower, lambda text: text.removesuffix(".png")]))
def test_no_row_takes_an_image_of_another_name(
    files: list[tuple[str, str]], change: object
) -> None:
    paths = sorted({f"{folder}/{name}.png" for folder, name in files})
    for path in paths:
        key = change(path)  # type: ignore[operator]
        found, _ = _found(key, paths)
        if found is not None:
            assert found.casefold().removesuffix(".png") == path.casefold().removesuffix(".png")


def test_a_table_about_other_images_stops() -> None:
    limits = Limits(max_unmatched_fraction=0.05)
    images = [f"{n}.png" for n in range(20)]
    rows = [LeftOut(f"x{n}.png", Kind.ROW_WITHOUT_IMAGE, f"line {n}: none") for n in range(20)]
    check_unmatched("t.csv", 20, rows[:1], images, dict.fromkeys(images[1:]), limits)
    for without, known in ((rows[:2], images), ([], images[2:])):
        with pytest.raises(InputError, match=r"t\.csv: .*max_unmatched_fraction = 0\.05"):
            check_unmatched("t.csv", 20, without, images, dict.fromkeys(known), limits)
    with pytest.raises(InputError, match=r"One of these rows: 'x0\.png' \(line 0: none\)"):
        check_unmatched("t.csv", 20, rows[:2], images, dict.fromkeys(images), limits)
    check_unmatched("t.csv", 20, rows, images, {}, Limits(max_unmatched_fraction=1.0))


def test_a_name_that_several_go_by_says_so() -> None:
    (item,) = match_rows([Row(2, "1.png")], ["A/1.png", "B/1.png", "C/1.png"]).left_out
    assert "3 images go by this name ('A/1.png', 'B/1.png', …): write the path" in item.reason
    (item,) = match_rows([Row(2, "2.png")], ["A/1.png"]).left_out
    assert item.reason.endswith("line 2: no image goes by this name")


def test_a_name_with_percent_signs_is_itself_first() -> None:
    paths = ["A/a%20b.png", "A/a b.png"]
    assert _found("a%20b.png", paths) == (paths[0], None)
    assert _found("a b.png", paths) == (paths[1], None)
