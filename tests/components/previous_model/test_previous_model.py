"""From a push to the model that a later training goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.previous_model.executor import Executor
from components.pushed_versions.comparison import training_data_from
from components.pushed_versions.seen_images import Images, read_seen
from components.radiograph_example_gen.artifact import SplitManifest
from schema import contract
from tests.components.pushed_versions.fixtures import Push, make_artifact, make_manifest


@dataclass(frozen=True)
class Found:
    """What lies in the outputs.

    Attributes:
        model: what the model's only file says.
        recipe: training.json.
        seen: what it and those before it were trained with.
    """

    model: str
    recipe: dict[str, int]
    seen: Images


Find = Callable[[SplitManifest], "Found | None"]


@pytest.fixture
def find(places: tuple[str, str], tmp_path: Path) -> Find:
    """(manifest) -> what was found; None where both outputs are empty."""

    def call(manifest: SplitManifest) -> Found | None:
        model = make_artifact(standard_artifacts.Model, tmp_path / "previous")
        run = make_artifact(standard_artifacts.ModelRun, tmp_path / "previous_run")
        Executor().Do(
            {"manifest": [manifest]},
            {"model": [model], "model_run": [run]},
            {"serving": places[0], "pushed": places[1]},
        )
        recipe = Path(run.uri, contract.TRAINING_FILE)
        file = Path(path_utils.serving_model_dir(model.uri), contract.SAVED_MODEL_FILE)
        assert file.exists() == recipe.exists() == model.has_custom_property("version")
        if not file.exists():
            return None
        return Found(file.read_text(), json.loads(recipe.read_text()), read_seen(run.uri))

    return call


@pytest.fixture
def now(tmp_path: Path) -> SplitManifest:
    """This run's images."""
    return make_manifest(tmp_path / "now", train=["n"], test=["a of p"])


def test_without_a_push_there_is_none(find: Find, now: SplitManifest) -> None:
    assert find(now) is None


def test_the_latest_of_other_images_is_taken_with_all_that_it_has_seen(
    push: Push, find: Find, now: SplitManifest, tmp_path: Path
) -> None:
    other = make_manifest(tmp_path / "other", train=["t of q"], eval=["e"], test=["z"])
    earlier = Images(frozenset({"0" * 64}), frozenset({"r"}))
    push(9, other, recipe=True)
    push(10, other, recipe=True, seen=earlier)
    own = training_data_from(other.uri).seen
    seen = Images(own.hashes | earlier.hashes, own.patients | earlier.patients)
    assert find(now) == Found("10", {"of": 10}, seen)


def test_no_model_goes_on_from_one_of_the_same_images(
    push: Push, find: Find, now: SplitManifest, tmp_path: Path
) -> None:
    push(1, make_manifest(tmp_path / "other", train=["t"]), recipe=True)
    push(2, now, recipe=True)
    found = find(now)
    assert found is not None
    assert found.model == "1"


@pytest.mark.parametrize("images", [["a"], ["z of p"]])
def test_whoever_knows_the_answers_is_passed_over(
    images: list[str], push: Push, find: Find, now: SplitManifest, tmp_path: Path
) -> None:
    push(1, make_manifest(tmp_path / "knows", train=images), recipe=True)
    assert find(now) is None


def test_whoever_went_on_from_one_that_knows_them_is_too(
    push: Push, find: Find, now: SplitManifest, tmp_path: Path
) -> None:
    other = make_manifest(tmp_path / "other", train=["t"])
    push(1, other, recipe=True, seen=Images(patients=frozenset({"p"})))
    assert find(now) is None


def test_a_version_without_its_recipe_or_its_manifest_is_passed_over(
    push: Push, find: Find, now: SplitManifest, places: tuple[str, str], tmp_path: Path
) -> None:
    other = make_manifest(tmp_path / "other", train=["t"])
    push(1, other, recipe=True)
    push(2, other)
    push(3, other, recipe=True)
    fileio.rmtree(f"{places[1]}/3")
    found = find(now)
    assert found is not None
    assert found.model == "1"
