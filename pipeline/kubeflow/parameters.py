"""The parameters that a run may set anew without compiling: properties of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.config.pipeline_config import PipelineConfig
from pipeline.kubeflow import names
from pipeline.kubeflow.edits import EDITS, takes

EXAMPLE_GEN: Final = "RadiographExampleGen"


def add_parameters(spec: dict[str, Any], config: PipelineConfig) -> None:
    """Make parameters of the pipeline out of properties of the nodes, in place.

    Args:
        spec: the IR, with TFX's names of tasks.
        config: gives the parameters' default values.
    """
    parameters = _parameters(config)
    spec["root"]["inputDefinitions"] = {
        "parameters": {
            name: {"parameterType": kind, "defaultValue": default, "isOptional": True}
            for name, (kind, default) in parameters.items()
        }
    }
    for task_name, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        inputs = task.setdefault("inputs", {}).setdefault("parameters", {})
        definitions = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
        if task_name == EXAMPLE_GEN and config.data.in_spans:
            # Filled in as the step starts.
            inputs[names.SPANS] = {"runtimeValue": {"constant": "[]"}}
            definitions[names.SPANS] = {"parameterType": "STRING"}
        values = {name: each["runtimeValue"]["constant"] for name, each in inputs.items()}
        for name, parameter in _taken(task_name, values, parameters).items():
            inputs[name] = {"componentInputParameter": parameter}
            definitions[name] = {"parameterType": parameters[parameter][0]}


def _parameters(config: PipelineConfig) -> dict[str, tuple[str, Any]]:
    """Name -> KFP's type and default."""
    settings, data = config.kubeflow, config.data
    found: dict[str, tuple[str, Any]] = {
        names.DATA: ("STRING", settings.data),
        names.DATA_VERSION: ("STRING", settings.data_version),
        names.SEED: ("NUMBER_INTEGER", config.seed),
        names.MIN_ACCURACY: ("NUMBER_DOUBLE", config.gate.min_accuracy),
    }
    if settings.metadata:
        found[names.METADATA] = ("STRING", settings.metadata)
    if data.in_spans:
        last = names.LATEST_SPAN if data.span is None else data.span
        found[names.WINDOW] = ("NUMBER_INTEGER", data.window or names.ALL_SPANS)
        found[names.SPAN_NUMBER] = ("NUMBER_INTEGER", last)
    return found


def _taken(
    task_name: str, values: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, str]:
    """Find for each property of a node the parameter that it is."""
    found = {names.SEED: names.SEED} if names.SEED in values else {}
    if task_name == EXAMPLE_GEN:
        properties = {
            names.DATA: names.DATA_DIR,
            names.DATA_VERSION: names.DATA_VERSION,
            names.METADATA: names.METADATA_CSV,
            names.WINDOW: names.EDIT + names.WINDOW,
            names.SPAN_NUMBER: names.EDIT + names.SPAN_NUMBER,
        }
        found |= {name: each for each, name in properties.items() if each in parameters}
    for parameter in EDITS:
        if any(takes(parameter, name, value) for name, value in values.items()):
            found[names.EDIT + parameter] = parameter
    return found
