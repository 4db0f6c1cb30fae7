"""The sets of phantoms that grow, and the lines of the benchmark's table."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import phantom_sets
from benchmarks.measured_run import Spent
from benchmarks.phantom_sets import phantom_set
from benchmarks.scale import counts_of, line_of
from schema.errors import InputError


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_sets, "_PER_CLASS", 10)
    monkeypatch.setattr(phantom_sets, "_BLOCK", 30)


def _names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.png")}


def test_a_larger_set_holds_the_smaller_one_and_nothing_is_drawn_twice(tmp_path: Path) -> None:
    small = phantom_set(tmp_path, 30, size=64)
    large = phantom_set(tmp_path, 70, size=64)
    assert len(_names(small)) == 30
    assert len(_names(large)) == 70
    assert _names(small) < _names(large)
    name = min(_names(small))
    assert (small / name).samefile(large / name)
    before = (large / "metadata.csv").stat().st_mtime_ns
    assert phantom_set(tmp_path, 70, size=64) == large
    assert (large / "metadata.csv").stat().st_mtime_ns == before


def test_classes_are_balanced_and_patients_of_two_blocks_are_not_the_same(tmp_path: Path) -> None:
    folder = phantom_set(tmp_path, 70, size=64)
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == _names(folder)
    counts = Counter(row["label"] for row in rows)
    assert max(counts.values()) - min(counts.values()) <= 1
    blocks: dict[str, set[str]] = {}
    for row in rows:
        blocks.setdefault(row["patient_id"], set()).add(Path(row["file"]).name[:4])
    assert all(len(found) == 1 for found in blocks.values())


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="counts: 6 images"):
        phantom_set(tmp_path, 6)
    with pytest.raises(InputError, match="counts: 'x' must be numbers"):
        counts_of("x")


def test_a_line_sums_the_nodes_and_keeps_the_largest_peak(tmp_path: Path) -> None:
    spent = {
        "RadiographExampleGen": Spent(1.0, 900, 0),
        "StatisticsGen": Spent(2.0, 1300, 2),
        "SchemaGate": Spent(9.0, 5000, 0),
        "Transform": Spent(3.0, 1000, 0),
        "Featurizer.vgg16": Spent(4.0, 1200, 0),
    }
    line = line_of(tmp_path, 100, spent, 0.52)
    assert (line["seconds"], line["images_per_second"], line["peak_mib"]) == (10.0, 10.0, 1300)
    assert line["nodes"]["Transform"] == {
        "seconds": 3.0,
        "images_per_second": 33.33,
        "peak_mib": 1000,
    }
