"""The strategy in TFX: which baseline each of several runs gets, and what is cached."""

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

from components.baseline_resolver import LatestOtherBlessedStrategy
from components.radiograph_example_gen.artifact import SplitManifest

pytestmark = pytest.mark.slow

SPLIT = {"train": ["a", "b of bert"], "eval": ["c"], "test": ["d"]}
OTHER_SEED = {"train": ["d", "b of bert"], "eval": ["c"], "test": ["a"]}


@tfx.dsl.components.component
def Split(  # noqa: N802 (a node's name)
    examples: tfx.dsl.components.OutputArtifact[standard_artifacts.Examples],
    manifest: tfx.dsl.components.OutputArtifact[SplitManifest],
    written: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for RadiographExampleGen: copies a manifest."""
    shutil.copytree(written, manifest.uri, dirs_exist_ok=True)


@tfx.dsl.components.component
def Featurize(  # noqa: N802
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    features: tfx.dsl.components.OutputArtifact[standard_artifacts.Examples],
) -> None:
    """Stands in for what lies between examples and Trainer."""


@tfx.dsl.components.component
def Train(  # noqa: N802
    features: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    recipe: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for Trainer."""
    serving = Path(model.uri, "Format-Serving")
    serving.mkdir(parents=True, exist_ok=True)
    (serving / "saved_model.pb").touch()
    Path(model.uri, "recipe").write_text(recipe)


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
        names = [Path(a.uri, "recipe").read_text() for a in input_dict.get("baseline_model", [])]
        blessing.set_string_custom_property("baseline", ",".join(names) or "none")


class EvaluateSpec(component_spec.ComponentSpec):
    """Evaluator's, as far as models go."""

    PARAMETERS: dict[str, Any] = {}  # noqa: RUF012 (TFX's own contract)
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
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
def baselines(
    tmp_path: Path, launch: Callable[..., Any], write_split: Callable[..., None]
) -> Baselines:
    """Trains with a recipe; returns the baseline of every evaluation so far, none cached."""

    def run(recipe: str, split: dict[str, list[str]] = SPLIT) -> list[str]:
        written = tmp_path / "-".join(split["test"])
        write_split(written, split)
        example_gen = Split(written=str(written)).with_id("Split")
        featurizer = Featurize(examples=example_gen.outputs["examples"])
        trainer = Train(recipe=recipe, features=featurizer.outputs["features"])
        trainer = trainer.with_id("Trainer.tiny")
        resolver = tfx.dsl.Resolver(
            strategy_class=LatestOtherBlessedStrategy,
            candidate=trainer.outputs["model"],
            model=tfx.dsl.Channel(
                type=standard_artifacts.Model, producer_component_id="Trainer.tiny"
            ),
            model_blessing=tfx.dsl.Channel(
                type=standard_artifacts.ModelBlessing, producer_component_id="Evaluator.tiny"
            ),
        ).with_id("Baseline.tiny")
        evaluator = Evaluate(trainer.outputs["model"], resolver.outputs["model"])
        connection = launch(
            example_gen,
            featurizer,
            trainer,
            resolver,
            evaluator.with_id("Evaluator.tiny"),
            enable_cache=True,
        )
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
    assert baselines("third") == ["none", "first", "second"]


def test_after_another_seed_the_baselines_are_those_of_that_seed(baselines: Baselines) -> None:
    """And with the first seed again, those of the first."""
    assert baselines("first") == ["none"]
    assert baselines("other seed", OTHER_SEED) == ["none", "none"]
    assert baselines("other seed", OTHER_SEED) == ["none", "none"]
    assert baselines("second") == ["none", "none", "first"]
    assert baselines("other seed, better", OTHER_SEED)[3:] == ["other seed"]
