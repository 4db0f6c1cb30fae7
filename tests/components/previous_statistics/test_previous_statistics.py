"""Which statistics are those of the images behind an earlier version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.previous_statistics.executor import Executor
from components.radiograph_example_gen.artifact import SplitManifest
from schema import contract
from tests.components.pushed_versions.fixtures import Push, make_artifact, make_manifest

Find = Callable[[SplitManifest], "str | None"]


@pytest.fixture
def find(places: tuple[str, str], tmp_path: Path) -> Find:
    """(manifest) -> what each file of the statistics says; None where there is none."""

    def call(manifest: SplitManifest) -> str | None:
        found = make_artifact(standard_artifacts.ExampleStatistics, tmp_path / "previous")
        Executor().Do({"manifest": [manifest]}, {"statistics": [found]}, {"pushed": places[1]})
        files = [Path(found.uri, f"Split-{split}", "FeatureStats.pb") for split in contract.SPLITS]
        texts = {file.read_text() for file in files if file.exists()}
        if not texts:
            return None
        assert artifact_utils.decode_split_names(found.split_names) == list(contract.SPLITS)
        (text,) = texts
        return text

    return call


@pytest.fixture
def now(tmp_path: Path) -> SplitManifest:
    """This run's images."""
    return make_manifest(tmp_path / "now", train=["n"], test=["a"])


@pytest.fixture
def other(tmp_path: Path) -> SplitManifest:
    """Those of an earlier run."""
    return make_manifest(tmp_path / "other", train=["o"], test=["a"])


def test_without_a_push_there_are_none(find: Find, now: SplitManifest) -> None:
    assert find(now) is None


def test_the_latest_of_other_images(
    push: Push, find: Find, now: SplitManifest, other: SplitManifest
) -> None:
    push(9, other, statistics=True)
    push(10, other, statistics=True)
    push(11, now, statistics=True)
    assert find(now) == "10"
    # Back to the earlier images, the latest others are these.
    assert find(other) == "11"


def test_a_version_without_statistics_or_record_is_passed_over(
    push: Push, find: Find, now: SplitManifest, other: SplitManifest, places: tuple[str, str]
) -> None:
    push(1, other, statistics=True)
    push(2, other)
    push(3, other, statistics=True)
    fileio.remove(f"{places[1]}/3/record.json")
    assert find(now) == "1"
