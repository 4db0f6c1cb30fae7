"""Which statistics are those of an earlier run's images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from absl import logging
from hypothesis import given
from hypothesis import strategies as st
from tfx.types import artifact_utils, standard_artifacts

from components.previous_statistics import LatestOtherStatisticsStrategy

SPLITS = ("train", "eval", "test")
FILE = "FeatureStats.pb"
Statistics = Callable[[int], Any]


def _statistics(folder: Path, number: int) -> Any:
    """As StatisticsGen leaves it, as far as the strategy looks."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.id, artifact.uri = number, str(folder / str(number))
    artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
    # The publisher sets it; before 0.30 the folder of a split had another name.
    artifact.set_string_custom_property("tfx_version", "1.16.0")
    for split in SPLITS:
        file = Path(artifact.uri, f"Split-{split}", FILE)
        file.parent.mkdir(parents=True)
        file.touch()
    return artifact


@pytest.fixture
def statistics(tmp_path: Path) -> Statistics:
    """(id) → an artifact with its files."""
    return lambda number: _statistics(tmp_path, number)


def _resolve(current: list[Any], known: list[Any]) -> list[int]:
    inputs = {"current": current, "statistics": known}
    resolved = LatestOtherStatisticsStrategy().resolve_artifacts(None, inputs)
    assert resolved.keys() == inputs.keys()
    assert resolved["current"] == current
    return [artifact.id for artifact in resolved["statistics"]]


@pytest.mark.parametrize(
    ("current", "known", "expected"),
    [
        pytest.param(1, [], [], id="nothing known"),
        pytest.param(1, [1], [], id="first run, or its repetition"),
        pytest.param(3, [1, 2, 3], [2], id="latest other"),
        pytest.param(10, [2, 10, 9], [9], id="by number, in any order"),
        pytest.param(1, [1, 2, 3], [3], id="back to earlier images"),
        pytest.param(3, [1, 2], [2], id="the current ones aren't known yet"),
    ],
)
def test_the_latest_other_statistics(
    statistics: Statistics, current: int, known: list[int], expected: list[int]
) -> None:
    all_of_them = {number: statistics(number) for number in {current, *known}}
    found = _resolve([all_of_them[current]], [all_of_them[number] for number in known])
    assert found == expected


def test_where_the_current_ones_are_not_known_there_are_none(statistics: Statistics) -> None:
    assert _resolve([], [statistics(1)]) == []
    assert LatestOtherStatisticsStrategy().resolve_artifacts(None, {}) == {
        "current": [],
        "statistics": [],
    }


@pytest.mark.parametrize("gone", ["", "Split-eval", f"Split-test/{FILE}"])
def test_what_is_gone_is_passed_over_with_a_warning(
    statistics: Statistics, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: warnings.append(text % values))
    first, second, third = known = [statistics(number) for number in (1, 2, 3)]
    lost = Path(second.uri, gone)
    if lost.is_dir():
        shutil.rmtree(lost)
    else:
        lost.unlink()
    assert _resolve([third], known) == [first.id]
    (warning,) = warnings
    assert second.uri in warning
    assert "gone" in warning


def test_statistics_of_no_split_are_none(statistics: Statistics) -> None:
    current, other = statistics(1), statistics(2)
    other.split_names = ""
    assert _resolve([current], [current, other]) == []


@given(
    known=st.sets(st.integers(1, 12), min_size=1).flatmap(
        lambda numbers: st.tuples(
            st.permutations(sorted(numbers)),
            st.sampled_from(sorted(numbers)),
            st.sets(st.sampled_from(sorted(numbers))),
        )
    )
)
def test_the_highest_id_of_what_is_there_and_not_current(
    known: tuple[list[int], int, set[int]],
) -> None:
    numbers, current, gone = known
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {number: _statistics(Path(folder), number) for number in numbers}
        for number in gone:
            shutil.rmtree(artifacts[number].uri)
        found = _resolve([artifacts[current]], list(artifacts.values()))
    there = set(numbers) - gone - {current}
    assert found == ([max(there)] if there else [])
