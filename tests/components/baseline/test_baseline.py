"""From a push to the next run's baseline, in folders and in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from absl import logging
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.baseline.executor import Executor as Baseline
from components.pushed_versions.comparison import training_data_from
from components.pushed_versions.record import RECORD_FILE
from components.pushed_versions.seen_images import Images
from components.radiograph_example_gen.artifact import SplitManifest
from schema import contract
from tests.components.pushed_versions.fixtures import CLASSES, Push, make_artifact, make_manifest

Find = Callable[..., "str | None"]
Warned = Callable[[Callable[[], "str | None"]], "tuple[str | None, list[str]]"]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Warned:
    """(search) -> what it found, and the warnings that it logged meanwhile."""

    def call(search: Callable[[], str | None]) -> tuple[str | None, list[str]]:
        said: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
            return search(), said

    return call


@pytest.fixture
def baseline(places: tuple[str, str], tmp_path: Path) -> Find:
    """(manifest, what the candidate's only file says) -> what the baseline's says, or None."""

    def call(manifest: SplitManifest, candidate: str = "") -> str | None:
        model = make_artifact(standard_artifacts.Model, tmp_path / "baseline")
        trained = make_artifact(standard_artifacts.Model, tmp_path / f"candidate {candidate}")
        serving = Path(path_utils.serving_model_dir(trained.uri))
        serving.mkdir(parents=True)
        (serving / contract.SAVED_MODEL_FILE).write_text(candidate)
        Baseline().Do(
            {"manifest": [manifest], "candidate": [trained]},
            {"model": [model]},
            {"serving": places[0], "pushed": places[1]},
        )
        file = Path(path_utils.serving_model_dir(model.uri), contract.SAVED_MODEL_FILE)
        found = file.read_text() if file.exists() else None
        assert (found is None) == (not model.has_custom_property("version"))
        return found

    return call


def test_without_a_push_there_is_none(baseline: Find, tmp_path: Path) -> None:
    assert baseline(make_manifest(tmp_path / "m", test=["a"])) is None


def test_the_latest_push_is(push: Push, baseline: Find, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest)
    push(10, manifest)
    assert baseline(manifest) == "10"


def test_it_has_the_heads_that_were_pushed_with_it(
    push: Push, baseline: Find, tmp_path: Path
) -> None:
    """Else Inferrer would ask its SavedModel about every test image, network and all."""
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    heads = Path(path_utils.eval_model_dir(str(tmp_path / "baseline")))
    push(9, manifest)
    assert baseline(manifest) == "9"
    assert not heads.exists()
    push(10, manifest, heads=True)
    assert baseline(manifest, "another") == "10"
    assert (heads / "variables" / "index").read_text() == "heads of 10"


def test_the_candidate_is_never_its_own_baseline(
    push: Push, baseline: Find, tmp_path: Path
) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest)
    push(10, manifest)
    assert baseline(manifest, "10") == "9"


def test_what_is_refused_is_neither_pushed_nor_kept(
    push: Push, baseline: Find, places: tuple[str, str], tmp_path: Path
) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(9, manifest, blessed=False)
    assert baseline(manifest) is None
    assert not fileio.exists(places[1])


def test_more_images_are_no_obstacle_where_the_old_ones_keep_their_splits(
    push: Push, baseline: Find, tmp_path: Path
) -> None:
    old = {"train": ["a of anna"], "eval": ["c of carl"], "test": ["d of dora"]}
    push(1, make_manifest(tmp_path / "old", CLASSES, **old))
    new = {split: [*images, f"new {split} of n{split}"] for split, images in old.items()}
    assert baseline(make_manifest(tmp_path / "new", CLASSES, **new)) == "1"


@pytest.mark.parametrize("classes", [("well", "ill"), ("ill", "well", "both"), ("ill",)])
def test_other_classes_or_another_order_are_passed_over(
    classes: tuple[str, ...], push: Push, baseline: Find, tmp_path: Path
) -> None:
    push(1, make_manifest(tmp_path / "other", classes, train=["t"]))
    assert baseline(make_manifest(tmp_path / "m", train=["t"], test=["a"])) is None


@pytest.mark.parametrize("text", ["", "[]", '{"model": "a"}', "\0"])
def test_a_record_that_cannot_be_read_is_passed_over_with_a_warning(
    text: str,
    push: Push,
    baseline: Find,
    places: tuple[str, str],
    warned: Warned,
    tmp_path: Path,
) -> None:
    manifest = make_manifest(tmp_path / "m", train=["t"], test=["a"])
    push(1, manifest)
    push(2, manifest)
    with fileio.open(f"{places[1]}/2/{RECORD_FILE}", "w") as file:
        file.write(text)
    found, (warning,) = warned(lambda: baseline(manifest))
    assert found == "1"
    assert "Version 2" in warning
    assert "can't be read" in warning


@pytest.mark.parametrize(
    ("splits", "why"),
    [
        ({"train": ["a"]}, "1 of the 2 test images"),
        ({"eval": ["a", "b"]}, "2 of the 2 test images"),
        ({"train": ["z of p"]}, "1 of the 1 test patients"),
    ],
)
def test_whoever_knows_the_answers_is_passed_over(
    splits: dict[str, list[str]],
    why: str,
    push: Push,
    baseline: Find,
    warned: Warned,
    tmp_path: Path,
) -> None:
    push(1, make_manifest(tmp_path / "fair", train=["t", "nobody's"]))
    push(2, make_manifest(tmp_path / "knows", CLASSES, **splits))
    now = make_manifest(tmp_path / "m", train=["t"], test=["a of p", "b"])
    found, (warning,) = warned(lambda: baseline(now))
    assert found == "1"
    assert "Version 2" in warning
    assert why in warning


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
