"""KFP v2 IR as far as it is executed here: tasks, their order, their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pipeline.kubeflow.package import Package, ParameterValue
from schema.errors import InputError


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

    def values(self, given: Mapping[str, ParameterValue]) -> dict[str, Any]:
        """The parameters of a run: those given, else the IR's defaults.

        Args:
            given: name -> value, as `package.parameters_from` returns them.
        """
        defaults = {n: d["defaultValue"] for n, d in self.parameters.items() if "defaultValue" in d}
        return defaults | dict(given)


def pipeline_of(package: Package, file: Path) -> Pipeline:
    """What is to be executed of a compiled pipeline.

    Args:
        package: the checked file.
        file: its name, for messages.

    Raises:
        InputError: it lacks something, or has what can't be executed here; names the place.
    """
    try:
        return _pipeline(package.spec)
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
