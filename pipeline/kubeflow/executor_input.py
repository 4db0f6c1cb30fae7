"""The input and the output of a step: KFP's ExecutorInput and ExecutorOutput."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.kubeflow.ir import Task

# An artifact as KFP hands it on: name, type, uri, metadata.
Artifact = dict[str, Any]
# An output that KFP gives every step, whatever the IR says: a file, which its launcher makes before
# the step's command starts (backend/src/v2/component/launcher_v2.go of KFP 2.17).
LOGS: Final = "executor-logs"
# Of inputs KFP's backend hands on no type (backend/src/v2/metadata/client.go).
_NO_TYPE: Final = {"instanceSchema": ""}


def executor_input(
    task: Task,
    parameters: Mapping[str, Any],
    produced: Mapping[str, Mapping[str, Artifact]],
    folder: Path,
    run: str,
) -> dict[str, Any]:
    """Build what the step's command gets, as KFP's driver builds it.

    Args:
        task: the step.
        parameters: of the run.
        produced: task -> output -> artifact, of those that have succeeded.
        folder: of this step's outputs.
        run: the run's id, part of the artifacts' names.

    Returns:
        KFP's ExecutorInput as JSON.
    """
    artifacts = {
        name: {"artifacts": [_input_artifact(source, produced)]}
        for name, source in task.inputs.get("artifacts", {}).items()
    }
    outputs = {
        name: {
            "artifacts": [
                {
                    "name": f"{run}/{task.name}/{name}",
                    "type": definition["artifactType"],
                    "uri": str(folder / name),
                }
            ]
        }
        for name, definition in _outputs(task).items()
    }
    outputs[LOGS] = {
        "artifacts": [
            {
                "name": LOGS,
                "type": {"schemaTitle": "system.Artifact"},
                "uri": str(folder / LOGS),
            }
        ]
    }
    return {
        "inputs": {
            "parameterValues": _parameter_values(task, parameters),
            "artifacts": artifacts,
        },
        "outputs": {"artifacts": outputs, "outputFile": str(folder / "executor_output.json")},
    }


def _outputs(task: Task) -> Mapping[str, Any]:
    found: Mapping[str, Any] = task.component.get("outputDefinitions", {}).get("artifacts", {})
    return found


def _input_artifact(
    source: Mapping[str, Any], produced: Mapping[str, Mapping[str, Artifact]]
) -> Artifact:
    output = source["taskOutputArtifact"]
    return {**produced[output["producerTask"]][output["outputArtifactKey"]], "type": _NO_TYPE}


def _parameter_values(task: Task, parameters: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, source in task.inputs.get("parameters", {}).items():
        if "componentInputParameter" in source:
            values[name] = parameters[source["componentInputParameter"]]
        else:
            values[name] = source["runtimeValue"]["constant"]
    return values


def output_artifacts(task: Task, told: Mapping[str, Any]) -> dict[str, Artifact]:
    """Return the artifacts of a step that has ended well.

    Args:
        task: the step.
        told: its ExecutorInput.

    Returns:
        Output -> artifact. The step leaves each one's type out, and may have added metadata.
    """
    file = Path(told["outputs"]["outputFile"])
    left = json.loads(file.read_text()).get("artifacts", {}) if file.exists() else {}
    found = {}
    for name, listed in told["outputs"]["artifacts"].items():
        (artifact,) = listed["artifacts"]
        changed = (left.get(name, {}).get("artifacts") or [{}])[0]
        found[name] = {
            **artifact,
            "uri": changed.get("uri") or artifact["uri"],
            "metadata": {**artifact.get("metadata", {}), **changed.get("metadata", {})},
        }
    return found
