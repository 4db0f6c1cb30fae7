"""What a step takes of the artifacts that KFP's backend hands it."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment
from pipeline.config.pipeline_config import load_config
from pipeline.kubeflow.artifact_types import keep_own_artifacts

prepare_environment()

from pipeline.kubeflow.compiler import compile_pipeline  # noqa: E402

REAL = Path(__file__).parents[4] / "shared" / "data" / "kfp" / "executor-inputs"
MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
EXAMPLES = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}
INPUTS = {"artifacts": {"examples": {"artifactType": EXAMPLES}}, "parameters": {"seed": {}}}
OUTPUTS = {"artifacts": {"model": {"artifactType": MODEL}}}
# What KFP calls them: with ML Metadata nothing, without it something of its own.
NAMELESS: list[dict[str, str]] = [
    {},
    {"instanceSchema": ""},
    {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"},
    {"instanceSchema": "title: system.Artifact\ntype: object\n"},
]


def _listed(kind: dict[str, str] | None, **metadata: Any) -> dict[str, Any]:
    artifact = {"name": "9", "uri": "minio://b/x", "metadata": metadata}
    return {"artifacts": [artifact if kind is None else {**artifact, "type": kind}]}


def _told(kind: dict[str, str] | None) -> dict[str, Any]:
    return {
        "inputs": {
            "artifacts": {
                "examples": _listed(kind, split_names='["train"]'),
                "whatever": _listed(kind),
            },
            "parameterValues": {"seed": 3.0},
        },
        "outputs": {
            "artifacts": {
                "model": _listed(MODEL),
                "executor-logs": _listed({"schemaTitle": "system.Artifact"}),
                "comes-next": _listed(MODEL),
            },
            "outputFile": "/f.json",
        },
        "and": "more",
    }


@pytest.mark.parametrize("kind", [None, *NAMELESS])
def test_types_come_from_the_steps_own_definitions(
    kind: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    told = _told(kind)
    with caplog.at_level(logging.DEBUG):
        keep_own_artifacts(told, INPUTS, OUTPUTS)
    assert told["inputs"]["artifacts"] == {"examples": _listed(EXAMPLES, split_names='["train"]')}
    assert told["outputs"]["artifacts"] == {"model": _listed(MODEL)}
    assert told["inputs"]["parameterValues"] == {"seed": 3.0}
    assert [record.levelname for record in caplog.records] == ["DEBUG"] * 3
    assert "executor-logs" in caplog.text


def test_a_type_that_is_there_stays() -> None:
    told = {"inputs": {"artifacts": {"examples": _listed(MODEL)}}}
    keep_own_artifacts(told, INPUTS, OUTPUTS)
    assert told["inputs"]["artifacts"]["examples"] == _listed(MODEL)


def test_an_older_ir_tells_no_outputs() -> None:
    told = _told(EXAMPLES)
    keep_own_artifacts(told, INPUTS, None)
    assert set(told["outputs"]["artifacts"]) == {"model", "comes-next"}


def test_a_step_without_artifacts() -> None:
    told: dict[str, Any] = {"inputs": {}, "outputs": {"outputFile": "/f"}}
    keep_own_artifacts(told, {}, {})
    assert told == {"inputs": {}, "outputs": {"outputFile": "/f"}}


@pytest.fixture(scope="module")
def steps() -> dict[str, dict[str, Any]]:
    """Task -> its component, of the pipeline whose steps the real backend ran."""
    overrides = {
        "data": {"dir": Path("elsewhere")},
        "kubeflow": {"data": "gs://bucket/data"},
        "backbones": ("vgg16",),
    }
    (spec,) = compile_pipeline(load_config(preset="demo", overrides=overrides))
    return {
        name: spec["components"][task["componentRef"]["name"]]
        for name, task in spec["root"]["dag"]["tasks"].items()
    }


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/kfp")
def test_every_real_input_is_what_tfxs_entry_point_reads(
    steps: dict[str, dict[str, Any]],
) -> None:
    """Inputs as the real driver made them; and once more as KFP without ML Metadata will."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils

    files = sorted(REAL.glob("*.json"))
    assert len(files) == 17
    for file in files:
        component = steps[file.stem]
        real = json.loads(file.read_text())
        assert "executor-logs" in real["outputs"]["artifacts"]
        without = copy.deepcopy(real)
        for listed in without["inputs"].get("artifacts", {}).values():
            for artifact in listed["artifacts"]:
                artifact["type"] = {"schemaTitle": "system.Artifact"}
        for told in (real, without):
            keep_own_artifacts(
                told, component.get("inputDefinitions", {}), component["outputDefinitions"]
            )
            message = json_format.ParseDict(
                told, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
            )
            inputs = utils.parse_raw_artifact_dict(message.inputs.artifacts, {})
            outputs = utils.parse_raw_artifact_dict(message.outputs.artifacts, {})
            assert set(inputs) == set(real["inputs"].get("artifacts", {})), file.name
            assert "executor-logs" not in outputs
            assert set(outputs) == set(component["outputDefinitions"]["artifacts"]), file.name
            for name, (artifact,) in {**inputs, **outputs}.items():
                side = "inputDefinitions" if name in inputs else "outputDefinitions"
                schema = component[side]["artifacts"][name]["artifactType"]["instanceSchema"]
                assert artifact.type_name in schema or type(artifact).__name__ in schema
