"""Parameters of a run that TFX has inside other properties.

A node's recipe is one JSON property to TFX, so a seed in it can't be a parameter of the
pipeline. The compiled step therefore gets the seed beside it, and puts it in as it starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.kubeflow.names import EDIT, MIN_ACCURACY, SEED
from schema import contract


def _set_seed(custom_config: str, seed: float) -> str:
    return json.dumps({**json.loads(custom_config), "seed": int(seed)}, sort_keys=True)


def _set_min_accuracy(eval_config: str, bound: float) -> str:
    from google.protobuf import json_format
    from tensorflow_model_analysis.proto import config_pb2

    from components.evaluator.eval_config import reached
    from components.evaluator.metrics import FewPatientsLower

    config = json_format.Parse(eval_config, config_pb2.EvalConfig())
    for metrics in config.metrics_specs:
        for metric in metrics.metrics:
            if f'"name": "{contract.ACCURACY}"' in metric.config:
                for each in metric.per_slice_thresholds:
                    each.threshold.value_threshold.lower_bound.value = reached(bound)
            # Those of slices have a name, and a bound of their own.
            if metric.class_name == FewPatientsLower.__name__ and '"name"' not in metric.config:
                for each in metric.per_slice_thresholds:
                    each.threshold.value_threshold.lower_bound.value = bound
    return json_format.MessageToJson(config, preserving_proto_field_name=True)


def _set_gate(gate: str, bound: float) -> str:
    return json.dumps({**json.loads(gate), "min_accuracy": bound})


# Parameter of the pipeline -> property of a node -> how it is put in.
EDITS: Final[Mapping[str, Mapping[str, Callable[[str, float], str]]]] = {
    SEED: {"custom_config": _set_seed},
    MIN_ACCURACY: {"eval_config": _set_min_accuracy, "gate": _set_gate},
}


def takes(parameter: str, name: str, value: object) -> bool:
    """Return whether a property of a node holds a parameter of the pipeline.

    Args:
        parameter: a key of EDITS.
        name: of the property.
        value: as compiled; a `custom_config` without a seed takes none.
    """
    if name not in EDITS[parameter] or not isinstance(value, str):
        return False
    return name != "custom_config" or parameter in (json.loads(value) or {})


def edited(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a step with the run's parameters in them.

    Args:
        values: name -> value, among them `edit_seed` and its like.

    Returns:
        All others, edited.
    """
    given = {name: value for name, value in values.items() if not name.startswith(EDIT)}
    for parameter, edits in EDITS.items():
        if EDIT + parameter in values:
            for name in edits.keys() & given.keys():
                if takes(parameter, name, given[name]):
                    given[name] = edits[name](given[name], values[EDIT + parameter])
    return given
