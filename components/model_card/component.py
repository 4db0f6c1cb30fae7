"""ModelCard: what is known of a model -> a page for people, and the same for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.model_card.artifact import ModelCardFiles
from components.model_card.executor import (
    BLESSING,
    EVALUATION,
    INFRA_BLESSING,
    MANIFEST,
    MODEL_CARD,
    PRETRAINED,
    RUN,
    Executor,
)
from components.radiograph_example_gen.artifact import SplitManifest


class ModelCardSpec(component_spec.ComponentSpec):
    """Artifacts and parameters of ModelCard."""

    PARAMETERS = {
        "name": component_spec.ExecutionParameter(type=str),
        "classes": component_spec.ExecutionParameter(type=str),
        "seed": component_spec.ExecutionParameter(type=int),
        "preset": component_spec.ExecutionParameter(type=str),
        "gate": component_spec.ExecutionParameter(type=str),
        "versions": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        MANIFEST: component_spec.ChannelParameter(type=SplitManifest),
        PRETRAINED: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        INFRA_BLESSING: component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing, optional=True
        ),
    }
    OUTPUTS = {MODEL_CARD: component_spec.ChannelParameter(type=ModelCardFiles)}


class ModelCard(base_component.BaseComponent):
    """The node that writes `model_card.md` and `model_card.json` from other nodes' findings.

    It computes nothing but intervals, and looks at no clock: the same inputs give the same
    bytes. A model that was refused gets a card, too, which says why.
    """

    SPEC_CLASS = ModelCardSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        name: str,
        classes: Sequence[str],
        seed: int,
        preset: str,
        gate: Mapping[str, Any],
        versions: Mapping[str, str],
        code_digest: str,
        model_run: channel.BaseChannel,
        evaluation: channel.BaseChannel,
        blessing: channel.BaseChannel,
        manifest: channel.BaseChannel,
        pretrained: channel.BaseChannel | None = None,
        infra_blessing: channel.BaseChannel | None = None,
    ) -> None:
        """Construct the node.

        Args:
            name: of the model: a backbone's, or the combination's kind.
            classes: names in label order.
            seed: of the run.
            preset: of the run.
            gate: what the model had to reach, a field of the configuration's `gate` each.
            versions: program -> version.
            code_digest: of the code and the template that the card depends on.
            model_run: Trainer's or ModelCombiner's.
            evaluation: Evaluator's `evaluation`.
            blessing: Evaluator's `blessing`.
            manifest: RadiographExampleGen's.
            pretrained: PretrainedBackbone's `model`; a combination has none.
            infra_blessing: of the node that had the model served, where there is one.
        """
        super().__init__(
            spec=ModelCardSpec(
                name=name,
                classes=json.dumps(list(classes)),
                seed=seed,
                preset=preset,
                gate=json.dumps(dict(gate)),
                versions=json.dumps(dict(versions)),
                code_digest=code_digest,
                model_card=channel.Channel(type=ModelCardFiles),
                **{
                    RUN: model_run,
                    EVALUATION: evaluation,
                    BLESSING: blessing,
                    MANIFEST: manifest,
                    PRETRAINED: pretrained,
                    INFRA_BLESSING: infra_blessing,
                },
            )
        )
