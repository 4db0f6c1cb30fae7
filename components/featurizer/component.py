"""Featurizer: transformed examples through a frozen prefix -> cached features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.featurizer.executor import Executor
from schema.table import TableColumn, to_json


class FeaturizerSpec(component_spec.ComponentSpec):
    """Parameters and artifacts of Featurizer."""

    PARAMETERS = {
        "backbone": component_spec.ExecutionParameter(type=str),
        "boundaries": component_spec.ExecutionParameter(type=str),
        "taps": component_spec.ExecutionParameter(type=str),
        "scaling": component_spec.ExecutionParameter(type=str, optional=True),
        "augmentations": component_spec.ExecutionParameter(type=str),
        "engine": component_spec.ExecutionParameter(type=str),
        "engine_version": component_spec.ExecutionParameter(type=str),
        "store": component_spec.ExecutionParameter(type=str, optional=True),
        "table": component_spec.ExecutionParameter(type=str, optional=True),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"features": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class Featurizer(base_beam_component.BaseBeamComponent):
    """The node that computes what is frozen once, so that training many heads pays for it once."""

    SPEC_CLASS = FeaturizerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        examples: channel.BaseChannel,
        model: channel.BaseChannel,
        backbone: str,
        boundaries: Sequence[str],
        taps: Sequence[str],
        scaling: str | None,
        augmentations: Mapping[str, Sequence[str]],
        engine: str,
        engine_version: str,
        code_digest: str,
        store: str | None = None,
        table: Sequence[TableColumn] = (),
    ) -> None:
        """Construct the node.

        Args:
            examples: Transform's `transformed_examples`.
            model: PretrainedBackbone's `model`.
            backbone: name in the table.
            boundaries: where prefixes end; the records hold what each of them needs.
            taps: the pooled taps that heads use.
            scaling: overrides the backbone's input scaling; None for its own.
            augmentations: split -> those of its images.
            engine: name of what runs the prefix (`models.engines`).
            engine_version: of its package; another may compute other features.
            code_digest: of the code that the features depend on.
            store: folder or URI where features are kept by what they depend on; a relative one
                begins where the pipeline's artifacts lie. None for none.
            table: columns that are handed on, to go straight to a head.
        """
        super().__init__(
            spec=FeaturizerSpec(
                examples=examples,
                model=model,
                backbone=backbone,
                boundaries=json.dumps(list(boundaries)),
                taps=json.dumps(list(taps)),
                scaling=scaling,
                augmentations=json.dumps(
                    {split: list(of_split) for split, of_split in augmentations.items()}
                ),
                engine=engine,
                engine_version=engine_version,
                store=store,
                table=to_json(table),
                code_digest=code_digest,
                features=channel.Channel(type=standard_artifacts.Examples),
            )
        )
