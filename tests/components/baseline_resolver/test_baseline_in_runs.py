"""The strategy in TFX: which baseline each of several runs gets, and what is cached."""

# No `from __future__ import annotations`: TFX reads those of `Train`.

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.baseline_resolver import LatestOtherBlessedStrategy

pytestmark = pytest.mark.slow


@tfx.dsl.components.component
def Train(  # noqa: N802 (a node's name)
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    recipe: tfx.dsl.components.Parameter[str],
) -> None:
    """Stands in for Trainer."""
    Path(model.uri).mkdir(exist_ok=True)
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


@pytest.fixture
def baselines(tmp_path: Path, launch: Callable[..., Any]) -> Callable[[str], list[str]]:
    """Trains with a recipe; returns the baseline of every evaluation so far, none cached."""

    def run(recipe: str) -> list[str]:
        trainer = Train(recipe=recipe).with_id("Trainer.tiny")
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
            trainer, resolver, evaluator.with_id("Evaluator.tiny"), enable_cache=True
        )
        blessings = mlmd.MetadataStore(connection).get_artifacts_by_type("ModelBlessing")
        return [b.custom_properties["baseline"].string_value for b in blessings]

    return run


def test_a_run_is_measured_against_the_last_other_and_its_repetition_is_cached(
    baselines: Callable[[str], list[str]],
) -> None:
    assert baselines("first") == ["none"]
    assert baselines("first") == ["none"]
    assert baselines("second") == ["none", "first"]
    assert baselines("second") == ["none", "first"]
    assert baselines("third") == ["none", "first", "second"]
