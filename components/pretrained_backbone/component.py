"""PretrainedBackbone: weights file (or a seed) -> Model artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.pretrained_backbone.executor import Executor


class PretrainedBackboneSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of PretrainedBackbone."""

    PARAMETERS = {
        "backbone": component_spec.ExecutionParameter(type=str),
        "weights_path": component_spec.ExecutionParameter(type=str, optional=True),
        "weights_label": component_spec.ExecutionParameter(type=str),
        "weights_sha256": component_spec.ExecutionParameter(type=str),
        "seed": component_spec.ExecutionParameter(type=int),
        "scaling": component_spec.ExecutionParameter(type=str, optional=True),
        "traced_taps": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class PretrainedBackbone(base_component.BaseComponent):
    """Stores the convolutional part, weights and graph, as an artifact that later nodes share."""

    SPEC_CLASS = PretrainedBackboneSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        backbone: str,
        weights_path: str | None,
        weights_label: str,
        weights_sha256: str,
        seed: int,
        scaling: str | None = None,
        traced_taps: Sequence[Sequence[str]] = (),
        code_digest: str,
    ) -> None:
        """Construct the node.

        Args:
            backbone: name in the table.
            weights_path: "notop" HDF5 file; None for random weights.
            weights_label: `imagenet`, `random` or the file's name.
            weights_sha256: of the file, so that another file is another execution.
            seed: of random weights.
            scaling: overrides the backbone's input scaling in what is traced; None for its own.
            traced_taps: sets of taps that a head in front of the frozen network may stand on; the
                network is traced for each of them, so that Trainers need not do it.
            code_digest: of the code that the execution depends on.
        """
        super().__init__(
            spec=PretrainedBackboneSpec(
                backbone=backbone,
                weights_path=weights_path,
                weights_label=weights_label,
                weights_sha256=weights_sha256,
                seed=seed,
                scaling=scaling,
                traced_taps=json.dumps([list(taps) for taps in traced_taps]),
                code_digest=code_digest,
                model=channel.Channel(type=standard_artifacts.Model),
            )
        )
