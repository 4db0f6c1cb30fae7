"""The sets of phantoms that grow, and the lines of the benchmark's table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import phantom_sets
from benchmarks.measured_run import Spent
from benchmarks.phantom_sets import phantom_set
from benchmarks.scale import counts_of, line_of
from common.errors import InputError
from pipeline.phantoms import dataset


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_sets, "_PER_CLASS", 5)
        patch.setattr(phantom_sets, "_BLOCK", 15)
        # What is on the images is not looked at here.
        patch.setattr(dataset, "phantom", _blank)
        yield


def _blank(_: str, *, size: int, seed: int, index: int) -> np.ndarray:
    return np.full((size, size), seed + index, np.uint8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of sets of 30 and, after that, of 40 phantoms."""
    folder = tmp_path_factory.mktemp("cache")
    for count in (30, 40):
        phantom_set(folder, count, size=64)
    return folder


def _names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.png")}


def test_a_larger_set_holds_the_smaller_one_and_nothing_is_drawn_twice(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = cache / "set-64-30", cache / "set-64-40"
    assert len(_names(small)) == 30
    assert len(_names(large)) == 40
    assert _names(small) < _names(large)
    name = min(_names(small))
    assert (small / name).samefile(large / name)
    before = (large / "metadata.csv").stat().st_mtime_ns
    monkeypatch.setattr(phantom_sets, "write_phantoms", lambda *_, **__: pytest.fail("drew again"))
    assert phantom_set(cache, 40, size=64) == large
    assert (large / "metadata.csv").stat().st_mtime_ns == before


def test_classes_are_balanced_and_patients_of_two_blocks_are_not_the_same(cache: Path) -> None:
    folder = cache / "set-64-40"
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == _names(folder)
    counts = Counter(row["label"] for row in rows)
    assert max(counts.values()) - min(counts.values()) <= 1
    blocks: dict[str, set[str]] = {}
    for row in rows:
        blocks.setdefault(row["patient_id"], set()).add(Path(row["file"]).name[:4])
    assert len({block for found in blocks.values() for block in found}) == 3
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
