"""From a push to the next run's baseline, in folders and in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.baseline_resolver.comparison import training_data_from
from components.pushed_baseline.executor import Executor as Baseline
from components.radiograph_example_gen.artifact import SplitManifest
from components.seen_images import Images
from schema import contract
from tests.components.baseline_resolver.conftest import CLASSES
from tests.components.pushed_fixtures import Push, make_artifact, make_manifest


@pytest.fixture
def baseline(places: tuple[str, str], tmp_path: Path) -> Callable[[SplitManifest], str | None]:
    """(manifest) looks for the baseline; what its only file says, None where there is none."""

    def call(manifest: SplitManifest) -> str | None:
        model = make_artifact(standard_artifacts.Model, tmp_path / "baseline")
        Baseline().Do(
            {"manifest": [manifest]},
            {"model": [model]},
            {"serving": places[0], "history": places[1]},
        )
        file = Path(path_utils.serving_model_dir(model.uri), contract.SAVED_MODEL_FILE)
        found = file.read_text() if file.exists() else None
        assert (found is None) == (not model.has_custom_property("version"))
        return found

    return call


Find = Callable[[SplitManifest], "str | None"]


def test_without_a_push_there_is_none(baseline: Find, tmp_path: Path) -> None:
    assert baseline(make_manifest(tmp_path / "m", test=["a"])) is None


def test_the_latest_push_is(push: Push, baseline: Find, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest)
    push(10, manifest)
    assert baseline(manifest) == "10"


def test_what_is_refused_is_neither_pushed_nor_kept(
    push: Push, baseline: Find, places: tuple[str, str], tmp_path: Path
) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest, blessed=False)
    assert baseline(manifest) is None
    assert not fileio.exists(places[1])


@pytest.mark.parametrize("splits", [{"train": ["a"]}, {"eval": ["a"]}, {"train": ["z of p"]}])
def test_whoever_knows_the_answers_is_passed_over(
    splits: dict[str, list[str]], push: Push, baseline: Find, tmp_path: Path
) -> None:
    push(1, make_manifest(tmp_path / "fair", train=["t"]))
    push(2, make_manifest(tmp_path / "knows", CLASSES, **splits))
    assert baseline(make_manifest(tmp_path / "m", train=["t"], test=["a of p"])) == "1"


def test_other_classes_are_passed_over(push: Push, baseline: Find, tmp_path: Path) -> None:
    push(1, make_manifest(tmp_path / "other", ("well", "ill"), train=["t"]))
    assert baseline(make_manifest(tmp_path / "m", train=["t"], test=["a"])) is None


def test_a_version_nobody_kept_anything_of_is_passed_over(
    push: Push, baseline: Find, places: tuple[str, str], tmp_path: Path
) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(1, manifest)
    push(2, manifest)
    fileio.rmtree(f"{places[1]}/2")
    assert baseline(manifest) == "1"


def test_what_a_version_goes_on_from_has_been_seen_too(
    push: Push, baseline: Find, tmp_path: Path
) -> None:
    push(1, make_manifest(tmp_path / "fair", train=["t"]))
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    (tested,) = training_data_from(manifest.uri).held_out.hashes
    push(2, make_manifest(tmp_path / "went on", train=["t"]), seen=Images(frozenset({tested})))
    assert baseline(manifest) == "1"
