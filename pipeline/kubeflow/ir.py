"""KFP v2 IR as far as it is executed here: tasks, their order, their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from pipeline.kubeflow.package import Package, ParameterValue

TOLD: Final = "{{$}}"


@dataclass(frozen=True)
class Task:
    """One step as the IR describes it.

    Attributes:
        name: in the DAG.
        inputs: `artifacts` and `parameters`, and where each comes from.
        after: the tasks that must have ended before.
        component: definitions of its inputs and outputs.
        container: image, resources.
        command: with its arguments; the word TOLD stands for the step's ExecutorInput.
        retries: after a failure.
    """

    name: str
    inputs: Mapping[str, Any]
    after: tuple[str, ...]
    component: Mapping[str, Any]
    container: Mapping[str, Any]
    command: Sequence[str]
    retries: int


@dataclass(frozen=True)
class Pipeline:
    """The content of the IR.

    Attributes:
        name: of the pipeline.
        tasks: in an order in which they can run.
        parameters: of the pipeline, name -> KFP's definition.
    """

    name: str
    tasks: tuple[Task, ...]
    parameters: Mapping[str, Mapping[str, Any]]

    def values(self, given: Mapping[str, ParameterValue]) -> dict[str, Any]:
        """Return the parameters of a run: those given, else the IR's defaults.

        Args:
            given: name -> value, as `package.parameters_from` returns them.
        """
        defaults = {n: d["defaultValue"] for n, d in self.parameters.items() if "defaultValue" in d}
        return defaults | dict(given)


def pipeline_of(package: Package, file: Path) -> Pipeline:
    """Read what is to be executed of a compiled pipeline.

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
    if "container" not in executor:
        raise ValueError(f"task {name}: there is no executor for {', '.join(executor)}")
    if task.keys() & {"parameterIterator", "artifactIterator"}:
        raise ValueError(f"task {name} is a loop, which is not executed here")
    policy = task.get("triggerPolicy", {})
    if policy.get("condition") or policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED":
        raise ValueError(
            f"task {name} is conditional or an exit handler, which is not executed here"
        )
    container = executor["container"]
    words = (*container.get("command", []), *container.get("args", []))
    if other := [word for word in words if "{{$" in word and word != TOLD]:
        raise ValueError(f"task {name}: nothing is filled in for {other[0]} here")
    inputs = task.get("inputs", {})
    producers = {
        source["taskOutputArtifact"]["producerTask"]
        for source in inputs.get("artifacts", {}).values()
        if "taskOutputArtifact" in source
    }
    return Task(
        name=name,
        inputs=inputs,
        after=tuple(sorted({*task.get("dependentTasks", []), *producers})),
        component=component,
        container=container,
        command=words,
        retries=int(task.get("retryPolicy", {}).get("maxRetryCount", 0)),
    )
