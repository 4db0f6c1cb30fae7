"""Champion: several candidates -> the one to push as `champion`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.champion.executor import (
    BLESSING,
    CARD,
    FILES,
    INFRA_BLESSING,
    MODEL,
    PREFER,
    RUN,
    Executor,
)
from components.many_inputs import input_key, with_inputs

if TYPE_CHECKING:
    from models.choice import Prefer


@dataclass(frozen=True)
class Candidate:
    """The channels of one backbone, or of a combination of them.

    Attributes:
        model: Trainer's or ModelCombiner's `model`.
        model_run: its `model_run`, which holds the answers that it is judged by.
        blessing: Evaluator's `blessing`.
        infra_blessing: of the node that had the model served; None where there is none.
        card: ModelCard's `model_card`, for the copy; None where there is none.
        precision_files: ServingPrecision's `files`, likewise.
    """

    model: channel.BaseChannel
    model_run: channel.BaseChannel
    blessing: channel.BaseChannel
    infra_blessing: channel.BaseChannel | None = None
    card: channel.BaseChannel | None = None
    precision_files: channel.BaseChannel | None = None


class ChampionSpec(component_spec.ComponentSpec):
    """Parameters and outputs; `with_inputs` adds the inputs."""

    PARAMETERS = {
        PREFER: component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


def _inputs(candidates: Mapping[str, Candidate]) -> dict[str, channel.BaseChannel]:
    """Three to six a candidate."""
    inputs = {}
    for name, candidate in candidates.items():
        inputs[input_key(MODEL, name)] = candidate.model
        inputs[input_key(RUN, name)] = candidate.model_run
        inputs[input_key(BLESSING, name)] = candidate.blessing
        if candidate.infra_blessing is not None:
            inputs[input_key(INFRA_BLESSING, name)] = candidate.infra_blessing
        if candidate.card is not None:
            inputs[input_key(CARD, name)] = candidate.card
        if candidate.precision_files is not None:
            inputs[input_key(FILES, name)] = candidate.precision_files
    return inputs


class Champion(base_component.BaseComponent):
    """Picks the blessed candidate with the lowest log loss OUT OF FOLD (`models.choice`).

    Or on the validation split, where that was held out. Not the best test result: the test
    split is there to say, without bias, how good the pushed model is. The maximum of several
    test accuracies is an optimistic estimate of the winner's, the more so the smaller the
    split (129 images, and a standard error of two points, in the paper's case); choosing
    without it leaves the champion's test accuracy honest. The gate has looked at the test
    split too, but only for yes or no; a candidate's card holds test results, and is copied
    unread.
    """

    SPEC_CLASS = ChampionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, candidates: Mapping[str, Candidate], *, prefer: Prefer, code_digest: str
    ) -> None:
        """Construct the node.

        Args:
            candidates: name -> its channels.
            prefer: see `models.choice.choose`.
            code_digest: of the code that the choice depends on.
        """
        inputs = _inputs(candidates)
        super().__init__(
            spec=with_inputs(ChampionSpec, inputs)(
                **inputs,
                prefer=prefer,
                code_digest=code_digest,
                model=channel.Channel(type=standard_artifacts.Model),
                blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
