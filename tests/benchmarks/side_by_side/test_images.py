"""Which radiographs the bench takes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.side_by_side.images import chosen, copy_flat, copy_images, spans
from common.errors import InputError
from tests.benchmarks.side_by_side.stand_in import CLASSES, radiographs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return radiographs(tmp_path_factory.mktemp("images") / "data", 20)


def test_each_part_is_balanced_and_always_the_same(data: Path, tmp_path: Path) -> None:
    files = chosen(data, 31)
    assert files == chosen(data, 31) == chosen(data)[:31]
    assert sorted(Counter(file.parts[0] for file in files).values()) == [10, 10, 11]
    # Not the first of each folder, which may be of one source.
    assert {file.name for file in files if file.parts[0] == "NORMAL"} != {
        f"NORMAL ({number}).png" for number in range(10)
    }
    before, later = spans(chosen(data))
    assert (len(before), len(later)) == (54, 6)
    assert set(before).isdisjoint(later)
    assert Counter(file.parts[0] for file in later) == dict.fromkeys(CLASSES, 2)


def test_images_in_a_folder_of_their_own_and_no_masks(tmp_path: Path) -> None:
    for inner in ("images", "masks"):
        (tmp_path / "NORMAL" / inner).mkdir(parents=True)
        for number in range(30):
            (tmp_path / "NORMAL" / inner / f"{number}.png").write_text("")
    assert {file.parts[:2] for file in chosen(tmp_path)} == {("NORMAL", "images")}


@pytest.mark.parametrize("count", [29, 61])
def test_counts_that_there_are_not(data: Path, count: int) -> None:
    with pytest.raises(InputError, match="has 60 images in class folders; take 30 to that many"):
        chosen(data, count)


def test_a_part_has_its_rows_of_the_metadata(data: Path, tmp_path: Path) -> None:
    files, target = chosen(data, 30), tmp_path / "part"
    target.mkdir()
    (target / "left.png").write_text("")
    copy_images(data, files, target)
    there = {file.relative_to(target) for file in target.rglob("*.png")}
    assert there == set(files)
    with (target / "metadata.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["file"] for row in rows} == {file.as_posix() for file in files}
    assert all(row["patient_id"] for row in rows)
    copy_flat(data, files, tmp_path / "flat")
    assert len(list((tmp_path / "flat").glob("*.png"))) == 30


def test_metadata_without_names_of_files(data: Path, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match="has no column 'file'"):
        copy_images(tmp_path, [], tmp_path / "part")
