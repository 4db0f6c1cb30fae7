"""The node that chooses the precision in which a model is served."""

from __future__ import annotations

import json

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.serving_precision import ServingPrecision
from models.openvino_runtime import cpu_name, instruction_sets
from pipeline.config.nodes import ServeConfig


def serving_precision(
    name: str,
    config: ServeConfig,
    transform: tfx.components.Transform,
    model_from: tfx.dsl.components.BaseNode,
    blessing_from: tfx.dsl.components.BaseNode,
    *,
    local: bool,
) -> ServingPrecision | None:
    """Build a node whose `files` are pushed beside the model; none where the server chooses.

    Args:
        name: of the model.
        config: which precision.
        transform: whose images int8 is tried on.
        model_from: Trainer or ModelCombiner.
        blessing_from: Evaluator.
        local: whether the nodes run on this machine, whose CPU is measured then.
    """
    if config.precision == "auto":
        return None
    return ServingPrecision(
        model=model_from.outputs["model"],
        blessing=blessing_from.outputs["blessing"],
        transformed_examples=transform.outputs["transformed_examples"],
        precision=config.precision,
        # On Kubeflow nobody knows yet which machine it will be; TFX's cache is the same for all.
        machine=json.dumps([cpu_name(), *instruction_sets()] if local else []),
        code_digest=code_digest("components.serving_precision.executor"),
    ).with_id(f"ServingPrecision.{name}")
