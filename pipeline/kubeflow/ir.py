"""KFP v2 IR: read from YAML, checked as far as it is executed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

import yaml

from schema.errors import InputError

# KFP's parameter types, and what Python has for them.
PARAMETER_TYPES: Final[Mapping[str, type]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
}
_TRUE_FALSE: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class Task:
    """One step as the IR describes it.

    Attributes:
        name: in the DAG.
        inputs: `artifacts` and `parameters`, and where each comes from.
        after: the tasks that must have ended before.
        condition: a CEL expression over the inputs; it runs in any case where empty.
        always: whether it runs where what it waits for has failed, too.
        component: definitions of its inputs and outputs.
        container: image, command, arguments, resources; None for an importer.
        importer: of an artifact from outside; None for a container.
        retries: after a failure.
    """

    name: str
    inputs: Mapping[str, Any]
    after: tuple[str, ...]
    condition: str
    always: bool
    component: Mapping[str, Any]
    container: Mapping[str, Any] | None
    importer: Mapping[str, Any] | None
    retries: int


@dataclass(frozen=True)
class Pipeline:
    """What the IR says.

    Attributes:
        name: of the pipeline.
        tasks: in an order in which they can run.
        parameters: of the pipeline, name -> KFP's definition.
    """

    name: str
    tasks: tuple[Task, ...]
    parameters: Mapping[str, Mapping[str, Any]]

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a run.

        Args:
            given: name -> value, of the type that the IR says.

        Raises:
            InputError: an unknown name, or one without value or default.
        """
        unknown = sorted(given.keys() - self.parameters.keys())
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise InputError(f"parameter: {unknown[0]!r} is unknown; the IR has {known}.")
        values = {n: d["defaultValue"] for n, d in self.parameters.items() if "defaultValue" in d}
        values |= given
        missing = sorted(self.parameters.keys() - values.keys())
        if missing:
            raise InputError(
                f"parameter: {missing[0]} has no default; give --parameter {missing[0]}=…"
            )
        return values

    def parse(self, assignments: list[str]) -> dict[str, Any]:
        """Reads `name=value` as the command line has it.

        Raises:
            InputError: no `=`, an unknown name, or a value of another type.
        """
        parsed = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise InputError(f"parameter: write name=value instead of {assignment!r}.")
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise InputError(f"parameter: {name!r} is unknown; the IR has {known}.")
            parsed[name] = _parse(name, text, str(self.parameters[name].get("parameterType")))
        return parsed


def _parse(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "BOOLEAN":
            return _TRUE_FALSE[text.lower()]
        return PARAMETER_TYPES[kind](text)
    except (ValueError, KeyError) as error:
        raise InputError(f"parameter: {name}={text!r} is no {kind}.") from error


def read_ir(file: Path) -> Pipeline:
    """Reads a compiled pipeline.

    Raises:
        InputError: the file can't be read, is no IR, or has what can't be executed here;
            names the file and the place in it.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no YAML: {error}") from error
    spec = documents[0] if documents else None
    if not isinstance(spec, dict) or not {"pipelineInfo", "root", "components"} <= spec.keys():
        raise InputError(
            f"{file} is no KFP pipeline: it lacks pipelineInfo, root or components. "
            "`cxr kubeflow compile` writes one."
        )
    try:
        return _pipeline(spec)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: the IR lacks {error}.") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}.") from error


def _pipeline(spec: Mapping[str, Any]) -> Pipeline:
    tasks = {name: _task(name, task, spec) for name, task in spec["root"]["dag"]["tasks"].items()}
    waits = {name: task.after for name, task in tasks.items()}
    unknown = {one for after in waits.values() for one in after} - tasks.keys()
    if unknown:
        raise ValueError(f"tasks wait for {sorted(unknown)}, which the IR doesn't have")
    try:
        order = list(TopologicalSorter(waits).static_order())
    except CycleError as error:
        raise ValueError(f"tasks wait for each other: {error.args[1]}") from error
    return Pipeline(
        name=spec["pipelineInfo"]["name"],
        tasks=tuple(tasks[name] for name in order),
        parameters=spec["root"].get("inputDefinitions", {}).get("parameters", {}),
    )


def _task(name: str, task: Mapping[str, Any], spec: Mapping[str, Any]) -> Task:
    component = spec["components"][task["componentRef"]["name"]]
    if "executorLabel" not in component:
        raise ValueError(f"task {name} is a DAG of its own, which is not executed here")
    executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
    if not executor.keys() & {"container", "importer"}:
        raise ValueError(f"task {name}: there is no executor for {', '.join(executor)}")
    if task.keys() & {"parameterIterator", "artifactIterator"}:
        raise ValueError(f"task {name} is a loop, which is not executed here")
    policy = task.get("triggerPolicy", {})
    inputs = task.get("inputs", {})
    producers = {
        source["taskOutputArtifact"]["producerTask"]
        for source in inputs.get("artifacts", {}).values()
        if "taskOutputArtifact" in source
    } | {
        source["taskOutputParameter"]["producerTask"]
        for source in inputs.get("parameters", {}).values()
        if "taskOutputParameter" in source
    }
    return Task(
        name=name,
        inputs=inputs,
        after=tuple(sorted({*task.get("dependentTasks", []), *producers})),
        condition=policy.get("condition", ""),
        always=policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
        component=component,
        container=executor.get("container"),
        importer=executor.get("importer"),
        retries=int(task.get("retryPolicy", {}).get("maxRetryCount", 0)),
    )
