"""The command that the container of a step runs: TFX's entry point, inside this project.

    python -m pipeline.kubeflow.step --executor_class_path … --json_serialized_invocation_args …

It takes TFX's own arguments. Before it hands on to TFX it keeps to the
artifacts that are the step's (`pipeline.kubeflow.artifact_types`), looks for spans
(`pipeline.kubeflow.spans`), puts the run's parameters into the properties
(`pipeline.kubeflow.edits`), brings inputs from object stores to this machine
(`pipeline.kubeflow.places`) and sets the process up as a local run does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.runtime import prepare_environment, quick_tfx_import
from pipeline.kubeflow import names
from pipeline.kubeflow.artifact_types import keep_own_artifacts
from pipeline.kubeflow.edits import edited
from pipeline.kubeflow.places import (
    fetch_places,
    make_output_folders,
    to_remote,
    with_local_artifacts,
)
from pipeline.kubeflow.spans import with_spans


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; return the process's exit code, 2 where the input is at fault."""
    arguments, beam_arguments = _parser().parse_known_args(argv)
    invocation = json.loads(arguments.json_serialized_invocation_args)
    spec = json.loads(arguments.json_serialized_inputs_spec_args or "{}")
    told = arguments.json_serialized_outputs_spec_args
    keep_own_artifacts(invocation, spec, json.loads(told) if told else None)
    prepare_environment()
    try:
        with tempfile.TemporaryDirectory(prefix="cxr-step-") as scratch:
            _run(arguments.executor_class_path, invocation, spec, beam_arguments, Path(scratch))
    except InputError as error:
        print(f"cxr: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    # Not TFX's: what it is told of the outputs, this step has to know.
    parser.add_argument(names.OUTPUTS_ARGUMENT, dest="json_serialized_outputs_spec_args")
    return parser


def _run(
    executor: str,
    invocation: dict[str, Any],
    spec: dict[str, Any],
    beam_arguments: list[str],
    scratch: Path,
) -> None:
    inputs = invocation.setdefault("inputs", {})
    values = with_spans(inputs.get("parameterValues", {}), scratch / "spans")
    values = fetch_places(edited(values), scratch)
    inputs["parameterValues"] = values
    parameters = spec.get("parameters", {})
    spec["parameters"] = {n: p for n, p in parameters.items() if not n.startswith(names.EDIT)}
    moved = with_local_artifacts(invocation)
    make_output_folders(invocation)

    with quick_tfx_import():
        from absl import flags
        from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

        from pipeline.kubeflow.object_stores import register_object_stores

    register_object_stores()

    # Its `main` is run by absl otherwise, which reads the flags of the command line.
    flags.FLAGS(["step"])
    kubeflow_v2_run_executor.main(
        (
            argparse.Namespace(
                executor_class_path=executor,
                json_serialized_invocation_args=json.dumps(invocation),
                json_serialized_inputs_spec_args=json.dumps(spec),
            ),
            beam_arguments,
        )
    )
    if moved:
        output = Path(invocation["outputs"]["outputFile"])
        output.write_text(json.dumps(to_remote(json.loads(output.read_text()), moved)))


if __name__ == "__main__":
    raise SystemExit(main())
