"""Which model a training starts from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.previous_model import LatestModelOnOtherImagesStrategy

OLD = {"train": ["a of anna", "b"], "eval": ["c of carl"], "test": ["d of dora", "e"]}
NEW = {split: [*images, f"new {split} of n{split}"] for split, images in OLD.items()}
Found = dict[str, list[int]]
Resolve = Callable[..., Found]


@pytest.fixture
def resolve(lineage: Any) -> Resolve:
    """(this run's manifest, models) → what is resolved; all are blessed unless `blessed` says."""

    def call(
        manifest: Any, *models: Any, blessed: Any = None, runs: bool = True, store: bool = True
    ) -> Found:
        blessings = []
        for model in models if blessed is None else blessed:
            blessing = standard_artifacts.ModelBlessing()
            blessing.id = 9000 + model.id
            blessing.set_int_custom_property("current_model_id", model.id)
            blessing.set_int_custom_property("blessed", 1)
            blessings.append(blessing)
        inputs = {
            "manifest": [manifest] if manifest else [],
            "model": list(models),
            "model_blessing": blessings,
            "model_run": lineage.store.get_artifacts_by_type("ModelRun") if runs else [],
        }
        strategy = LatestModelOnOtherImagesStrategy()
        found = strategy.resolve_artifacts(lineage.store if store else None, inputs)
        return {key: [artifact.id for artifact in each] for key, each in found.items()}

    return call


def test_the_latest_blessed_model_with_what_lies_beside_it(lineage: Any, resolve: Resolve) -> None:
    models = [lineage.model(OLD) for _ in range(3)]
    _, manifest = lineage.split(NEW)
    found = resolve(manifest, *models, blessed=models[:2])
    assert (found["manifest"], found["model"]) == ([manifest.id], [models[1].id])
    assert found["model_blessing"] == [9000 + models[1].id]
    (run,) = found["model_run"]
    assert run == models[1].id + 1


def test_models_of_this_runs_images_are_passed_over(lineage: Any, resolve: Resolve) -> None:
    old = lineage.model(OLD)
    examples, manifest = lineage.split(NEW)
    own = lineage.train(examples, start=old)
    again = lineage.model(NEW)
    assert resolve(manifest, old, own, again)["model"] == [old.id]
    # With a window that leaves the old ones, what it was continued from is no matter.
    _, later = lineage.split({split: images[-1:] for split, images in NEW.items()})
    assert resolve(later, old, own)["model"] == [own.id]


@pytest.mark.parametrize(
    "splits",
    [
        {"train": ["e"], "eval": ["c"], "test": ["a"]},
        {"train": ["z of dora"], "eval": ["c"], "test": ["b"]},
    ],
)
def test_what_has_seen_the_test_split_is_no_start(
    splits: dict[str, list[str]], lineage: Any, resolve: Resolve
) -> None:
    old, seen = lineage.model(OLD), lineage.model(splits)
    _, manifest = lineage.split(NEW)
    assert resolve(manifest, old, seen)["model"] == [old.id]
    continued = lineage.train(
        lineage.split({"train": ["x"], "eval": [], "test": []})[0], start=seen
    )
    assert resolve(manifest, continued)["model"] == []


def test_nothing_is_found_where_something_is_gone(lineage: Any, resolve: Resolve) -> None:
    _, manifest = lineage.split(NEW)
    assert resolve(manifest)["model"] == []
    model = lineage.model(OLD)
    assert resolve(manifest, model, runs=False)["model"] == []
    assert resolve(None, model)["model"] == []
    assert resolve(manifest, model, store=False)["model"] == []
    shutil.rmtree(model.uri)
    assert resolve(manifest, model)["model"] == []
    shutil.rmtree(Path(manifest.uri))
    assert resolve(manifest, lineage.model(OLD)) == {
        "manifest": [manifest.id], "model": [], "model_blessing": [], "model_run": [],
    }  # fmt: skip
