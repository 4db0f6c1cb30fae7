"""Baseline in TFX: which one each of several runs gets, and what is cached."""

# No `from __future__ import annotations`: TFX reads those of `Train`.

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.baseline import Baseline
from components.radiograph_example_gen.artifact import SplitManifest
from components.serving_pusher import ServingPusher
from schema import contract
from tests.components.pushed_versions.fixtures import save_split
from tests.components.serving_pusher.conftest import Clock

pytestmark = pytest.mark.slow

SPLIT = {"train": ["a", "b of bert"], "eval": ["c"], "test": ["d"]}
OTHER_SEED = {"train": ["d", "b of bert"], "eval": ["c"], "test": ["a"]}


@tfx.dsl.components.component
def Split(  # noqa: N802 (a node's name)
    manifest: tfx.dsl.components.OutputArtifact[SplitManifest],
    written: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for RadiographExampleGen: copies a manifest."""
    shutil.copytree(written, manifest.uri, dirs_exist_ok=True)


@tfx.dsl.components.component
def Train(  # noqa: N802
    manifest: tfx.dsl.components.InputArtifact[SplitManifest],
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    model_run: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelRun],
    recipe: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for Trainer: the model's only file says the recipe."""
    serving = Path(model.uri, "Format-Serving")
    serving.mkdir(parents=True, exist_ok=True)
    (serving / contract.SAVED_MODEL_FILE).write_text(recipe)
    Path(model_run.uri).mkdir(parents=True, exist_ok=True)


class EvaluateExecutor(base_executor.BaseExecutor):
    """Blesses every model, and notes the baseline."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        (model,), (blessing,) = input_dict["model"], output_dict["blessing"]
        blessing.set_int_custom_property("current_model_id", model.id)
        blessing.set_int_custom_property("blessed", 1)
        (baseline,) = input_dict["baseline_model"]
        file = Path(baseline.uri, "Format-Serving", contract.SAVED_MODEL_FILE)
        name = file.read_text() if file.exists() else "none"
        blessing.set_string_custom_property("baseline", name)


class EvaluateSpec(component_spec.ComponentSpec):
    """Evaluator's, as far as models go."""

    PARAMETERS: dict[str, Any] = {}  # noqa: RUF012 (TFX's own contract)
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing)
    }


class Evaluate(base_component.BaseComponent):
    """Stands in for Evaluator."""

    SPEC_CLASS = EvaluateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(EvaluateExecutor)

    def __init__(self, model: Any, baseline_model: Any) -> None:
        blessing = channel.Channel(type=standard_artifacts.ModelBlessing)
        super().__init__(
            EvaluateSpec(model=model, baseline_model=baseline_model, blessing=blessing)
        )


Baselines = Callable[..., list[str]]


@pytest.fixture
def baselines(tmp_path: Path, launch: Callable[..., Any], clock: Clock) -> Baselines:
    """Trains and pushes; returns the baseline of every evaluation so far, none cached."""

    def run(recipe: str, split: dict[str, list[str]] = SPLIT) -> list[str]:
        written = tmp_path / "-".join(split["test"])
        save_split(written, split)
        example_gen = Split(written=str(written)).with_id("Split")
        manifest = example_gen.outputs["manifest"]
        trainer = Train(recipe=recipe, manifest=manifest).with_id("Trainer.tiny")
        serving, pushed = str(tmp_path / "serving"), str(tmp_path / "pushed")
        baseline = Baseline(
            manifest=manifest,
            candidate=trainer.outputs["model"],
            serving=serving,
            pushed=pushed,
        ).with_id("Baseline.tiny")
        evaluator = Evaluate(trainer.outputs["model"], baseline.outputs["model"])
        pusher = ServingPusher(
            model=trainer.outputs["model"],
            model_blessing=evaluator.outputs["blessing"],
            manifest=manifest,
            model_run=trainer.outputs["model_run"],
            pushed=pushed,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=serving)
            ),
        )
        nodes = (example_gen, trainer, baseline, evaluator.with_id("Evaluator.tiny"), pusher)
        connection = launch(*nodes, enable_cache=True)
        clock.sleep(10)
        blessings = mlmd.MetadataStore(connection).get_artifacts_by_type("ModelBlessing")
        return [b.custom_properties["baseline"].string_value for b in blessings]

    return run


def test_a_run_is_measured_against_the_last_other_and_its_repetition_is_cached(
    baselines: Baselines,
) -> None:
    assert baselines("first") == ["none"]
    assert baselines("first") == ["none"]
    assert baselines("second") == ["none", "first"]
    assert baselines("second") == ["none", "first"]
    # Back to the first recipe, whose model comes from the cache: it is measured, and pushed, again.
    assert baselines("first") == ["none", "first", "second"]
    assert baselines("first") == ["none", "first", "second"]
    assert baselines("third") == ["none", "first", "second", "first"]


def test_after_another_seed_the_baselines_are_those_of_that_seed(baselines: Baselines) -> None:
    """And with the first seed again, those of the first."""
    assert baselines("first") == ["none"]
    assert baselines("other seed", OTHER_SEED) == ["none", "none"]
    assert baselines("other seed", OTHER_SEED) == ["none", "none"]
    assert baselines("second") == ["none", "none", "first"]
    assert baselines("other seed, better", OTHER_SEED)[3:] == ["other seed"]
