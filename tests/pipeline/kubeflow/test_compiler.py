"""The IR: what it asks Kubernetes for, what may be set at run time, what it must not hold."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from common.errors import InputError
from common.runtime import prepare_environment
from components.radiograph_example_gen.settings import Layout, parse_settings
from models.backbones import BACKBONES, get_backbone
from pipeline import cli
from pipeline.check.images import settings_of
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.kubeflow import compiler, names
from pipeline.kubeflow.compiler import compile_pipeline, kubernetes_name, to_yaml
from pipeline.kubeflow.edits import edited
from pipeline.kubeflow.ir import TOLD, pipeline_of
from pipeline.kubeflow.package import Package
from schema.table import from_json

prepare_environment()

DATA = "gs://bucket/radiographs"


def _config(preset: str = "demo", **fields: Any) -> PipelineConfig:
    kubeflow = {"data": DATA, **fields.pop("kubeflow", {})}
    overrides = {"data": {"dir": Path("elsewhere")}, "kubeflow": kubeflow, **fields}
    return load_config(preset=preset, overrides=overrides)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each backbone."""
    folder = tmp_path_factory.mktemp("weights")
    for name in BACKBONES:
        (folder / get_backbone(name).imagenet_file).write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def compiled(weights: Path) -> list[dict[str, Any]]:
    """All backbones, with resources, a volume and a secret."""
    return compile_pipeline(
        _config(
            "fast",
            weights_dir=weights,
            seed=5,
            kubeflow={
                "weights": "s3://bucket/weights/",
                "root": "gs://bucket/artifacts",
                "serving": "gs://bucket/serving",
                "pushed": "/mnt/pushed",
                "retries": 2,
                "resources": {
                    "default": {"cpu": 1, "memory": "4Gi"},
                    "Featurizer": {"memory": "8G", "accelerator": "nvidia.com/gpu"},
                    "Trainer.xception": {"cpu": 4},
                },
                "volumes": [{"claim": "models", "mount_path": "/mnt"}],
                "secrets": [{"secret": "s3", "key": "id", "variable": "AWS_ACCESS_KEY_ID"}],
            },
        )
    )


def _task(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    task: dict[str, Any] = documents[0]["root"]["dag"]["tasks"][name]
    return task


def _container(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    container: dict[str, Any] = documents[0]["deploymentSpec"]["executors"][f"exec-{name}"][
        "container"
    ]
    return container


def test_it_is_what_kfp_reads(compiled: list[dict[str, Any]]) -> None:
    spec = json_format.ParseDict(compiled[0], pipeline_spec_pb2.PipelineSpec())
    config = pipeline_spec_pb2.PipelineDeploymentConfig()
    json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), config)
    assert spec.schema_version == "2.1.0"
    assert spec.default_pipeline_root == "gs://bucket/artifacts"
    assert config.executors.keys() == {f"exec-{name}" for name in spec.root.dag.tasks}
    assert list(yaml.safe_load_all(to_yaml(compiled))) == compiled


def test_the_nodes_are_the_local_dags(compiled: list[dict[str, Any]]) -> None:
    per_model = ("baseline", "inferrer", "evaluator", "model-card", "pusher")
    per_backbone = ("pretrained-backbone", "featurizer", "trainer", *per_model)
    expected = {
        "radiograph-example-gen", "statistics-gen", "curated-schema-gen", "example-validator",
        "schema-gate", "shortcut-audit", "transform", "champion", "pusher-champion",
        "previous-statistics", "report",
        *(f"{node}-{name}" for node in per_backbone for name in BACKBONES),
        *(f"{node}-ensemble" for node in ("combiner", *per_model)),
        *(f"{node}-cascade" for node in ("combiner", *per_model)),
        *(f"{node}-fusion" for node in ("trainer", *per_model)),
    }  # fmt: skip
    assert compiled[0]["root"]["dag"]["tasks"].keys() == expected


def test_int8_is_tried_there_too_whatever_this_machines_cpu() -> None:
    spec = compile_pipeline(
        _config(
            "demo",
            backbones=["vgg16"],
            allow_random_weights=True,
            serve={"precision": "int8"},
            infra_validation={"mode": "embedded"},
        )
    )[0]
    tasks = spec["root"]["dag"]["tasks"]
    task = tasks["serving-precision-vgg16"]
    assert task["inputs"]["parameters"]["machine"]["runtimeValue"]["constant"] == "[]"
    for behind in ("infra-check-vgg16", "pusher-vgg16", "champion"):
        assert "serving-precision-vgg16" in tasks[behind]["dependentTasks"]


def test_names_are_fit_for_kubernetes(compiled: list[dict[str, Any]]) -> None:
    spec = compiled[0]
    for name, task in spec["root"]["dag"]["tasks"].items():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 63
        assert task["taskInfo"]["name"] == name
        assert set(task["dependentTasks"]) <= spec["root"]["dag"]["tasks"].keys()
    assert kubernetes_name("PretrainedBackbone.vgg16") == "pretrained-backbone-vgg16"


def test_all_of_it_can_be_executed_here(compiled: list[dict[str, Any]]) -> None:
    """No conditions, importers, exit handlers, loops or DAGs in a DAG: `run-local` knows none."""
    pipeline = pipeline_of(Package("all", b"", compiled), Path("ir.yaml"))
    assert {task.name for task in pipeline.tasks} == compiled[0]["root"]["dag"]["tasks"].keys()
    assert all(task.command.count(TOLD) == 1 for task in pipeline.tasks)


def test_no_path_of_this_machine_and_no_secret_is_in_it(
    compiled: list[dict[str, Any]], weights: Path
) -> None:
    text = to_yaml(compiled)
    assert str(Path(__file__).parents[3]) not in text
    assert str(weights) not in text
    assert f"{Path.home()}/" not in text
    # Of the secret there is the name.
    step = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-champion"]
    assert step == {
        "pvcMount": [{"constant": "models", "mountPath": "/mnt"}],
        "secretAsEnv": [
            {
                "secretName": "s3",
                "keyToEnv": [{"secretKey": "id", "envVar": "AWS_ACCESS_KEY_ID"}],
            }
        ],
    }


def test_steps_ask_for_what_the_configuration_says(compiled: list[dict[str, Any]]) -> None:
    assert _container(compiled, "champion")["resources"] == {
        "cpuRequest": 1.0, "cpuLimit": 1.0,
        "memoryRequest": 4 * 1.073741824, "memoryLimit": 4 * 1.073741824,
    }  # fmt: skip
    assert _container(compiled, "featurizer-vgg16")["resources"] == {
        "memoryRequest": 8.0, "memoryLimit": 8.0,
        "accelerator": {"type": "nvidia.com/gpu", "count": "1"},
    }  # fmt: skip
    assert _container(compiled, "trainer-xception")["resources"]["cpuLimit"] == 4.0
    assert _task(compiled, "champion")["retryPolicy"]["maxRetryCount"] == 2


def test_a_featurizer_with_an_accelerator_computes_with_tensorflow(
    compiled: list[dict[str, Any]],
) -> None:
    values = _task(compiled, "featurizer-vgg16")["inputs"]["parameters"]
    assert values["engine"]["runtimeValue"]["constant"] == "tensorflow"
    without = compile_pipeline(_config(backbones=("vgg16",)))
    values = _task(without, "featurizer-vgg16")["inputs"]["parameters"]
    # Not bf16, even where this machine has it: who knows what the cluster has.
    assert values["engine"]["runtimeValue"]["constant"] == "openvino-f32"


def test_weights_are_named_by_their_digest_and_the_place_of_the_steps(
    compiled: list[dict[str, Any]],
) -> None:
    values = _task(compiled, "pretrained-backbone-xception")["inputs"]["parameters"]
    file = get_backbone("xception").imagenet_file
    assert values["weights_path"]["runtimeValue"]["constant"] == f"s3://bucket/weights/{file}"
    digest = hashlib.sha256(b"xception").hexdigest()
    assert values["weights_sha256"]["runtimeValue"]["constant"] == digest


def test_parameters_of_a_run(compiled: list[dict[str, Any]]) -> None:
    parameters = compiled[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in parameters.items()} == {
        "data": DATA, "data_version": "", "seed": 5, "min_accuracy": 0.9,
    }  # fmt: skip
    given = _task(compiled, "radiograph-example-gen")["inputs"]["parameters"]
    assert given["data_dir"] == {"componentInputParameter": "data"}
    assert given["seed"] == {"componentInputParameter": "seed"}
    for name in ("trainer-vgg16", "evaluator-cascade", "model-card-ensemble"):
        definitions = compiled[0]["components"][f"comp-{name}"]["inputDefinitions"]["parameters"]
        edits = {parameter for parameter in definitions if parameter.startswith("edit_")}
        assert edits == ({"edit_seed"} if "trainer" in name else {"edit_min_accuracy"})
        arguments = _container(compiled, name)["args"]
        told = arguments[arguments.index("--json_serialized_inputs_spec_args") + 1]
        assert json.loads(told)["parameters"] == definitions


def test_a_table_that_says_the_classes_is_said_to_the_step() -> None:
    data = {
        "dir": Path("elsewhere"),
        "layout": "table",
        "columns": {"label": "finding"},
        "views": ["PA", "AP"],
        "classes": [{"name": name, "labels": [name.upper(), f"{name}/x"]} for name in "ab"],
        "healthy": None,
    }
    config = _config(backbones=("vgg16",), data=data)
    task = _task(compile_pipeline(config), "radiograph-example-gen")
    values = {
        name: source.get("runtimeValue", {}).get("constant")
        for name, source in task["inputs"]["parameters"].items()
    }
    told = parse_settings({**values, "data_dir": "d", "seed": config.seed})
    here = settings_of(config)
    assert told.layout == here.layout == Layout("table", {"label": "finding"}, ("PA", "AP"))
    assert told.classes == here.classes and here.classes[0].labels == ("A", "a/x")


def test_columns_of_the_table_are_told_to_all_steps_that_have_them() -> None:
    crp = {"column": "crp_val", "kind": "numeric", "unit": "mg/l", "low": 0, "high": 600}
    notes = {"kind": "text", "mask": ["covid-19"]}
    data = {"dir": Path("elsewhere"), "features": {"crp": crp, "notes": notes}}
    config = _config(backbones=("vgg16",), data=data)
    documents = compile_pipeline(config)

    def told(name: str) -> dict[str, Any]:
        parameters = _task(documents, name)["inputs"]["parameters"]
        return {n: each.get("runtimeValue", {}).get("constant") for n, each in parameters.items()}

    for name in ("radiograph-example-gen", "featurizer-vgg16"):
        assert from_json(told(name)["table"]) == config.data.table
    of_transform = json.loads(told("transform")["custom_config"])
    assert from_json(of_transform["table"]) == config.data.table
    assert "table_finite/crp" in told("curated-schema-gen")["schema_text"]
    assert "table_finite/crp" in told("statistics-gen")["stats_options_json"]
    without = compile_pipeline(_config(backbones=("vgg16",)))
    parameters = _task(without, "featurizer-vgg16")["inputs"]["parameters"]
    assert "table" not in parameters


def test_a_seed_and_a_bound_of_the_run_give_what_compiling_with_them_gives() -> None:
    here = compile_pipeline(_config(backbones=("vgg16",)))
    there = compile_pipeline(_config(backbones=("vgg16",), seed=9, gate={"min_accuracy": 0.75}))
    for name in ("trainer-vgg16", "evaluator-vgg16", "model-card-vgg16"):
        values = [
            {
                key: source.get("runtimeValue", {}).get("constant")
                for key, source in _task(documents, name)["inputs"]["parameters"].items()
            }
            for documents in (here, there)
        ]
        values[0] |= {key: 9.0 for key in values[0] if key == "edit_seed"}
        values[0] |= {key: 0.75 for key in values[0] if key == "edit_min_accuracy"}
        # Neither an edit nor another property is left behind.
        expected = {key: v for key, v in values[1].items() if not key.startswith("edit_")}
        found = edited(values[0])
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same = found[key] == value
            assert same or json.loads(found[key]) == json.loads(value), (name, key)


def test_only_what_depends_on_nothing_else_is_taken_from_the_cache() -> None:
    def cached(**fields: Any) -> set[str]:
        tasks = compile_pipeline(_config(backbones=("vgg16",), **fields))[0]["root"]["dag"]["tasks"]
        return {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}

    never = {"baseline-vgg16", "pusher-vgg16", "pusher-champion"}
    without = cached()
    # Nobody looks at the images before the cache is asked.
    assert not without & {*never, "radiograph-example-gen"}
    assert cached(kubeflow={"data_version": "2024-06"}) == without | {"radiograph-example-gen"}
    assert cached(enable_cache=False, kubeflow={"data_version": "2024-06"}) == set()


def test_the_same_configuration_gives_the_same_text() -> None:
    texts = [to_yaml(compile_pipeline(_config(backbones=("vgg16",)))) for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kubeflow": {"data": None}}, r"kubeflow\.data: say where"),
        ({"tuning": {"mode": "reuse"}}, r"tuning\.mode: Kubeflow has no metadata store"),
        ({"infra_validation": {"mode": "docker"}}, r"infra_validation\.mode"),
    ],
)
def test_what_kubeflow_cannot_do_is_said(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        compile_pipeline(_config(**fields))


def test_weights_that_the_steps_would_not_find_are_said(weights: Path) -> None:
    with pytest.raises(InputError, match=r"kubeflow\.weights: say where the steps find vgg16"):
        compile_pipeline(_config(weights_dir=weights))


@pytest.mark.parametrize(
    ("kubeflow", "words"),
    [
        ({"resources": {"default": {"memory": "8 GB"}}}, "no amount of memory"),
        ({"resources": {"default": {"cpu": 0}}}, "greater than 0"),
        ({"serving": "/a", "pushed": "/a/b"}, "pushed: must lie outside serving"),
        ({"volumes": [{"claim": "c", "mount_path": "relative"}]}, "mount_path"),
        ({"secrets": [{"secret": "s", "key": "k", "variable": "1A"}]}, "variable"),
    ],
)
def test_a_wrong_field_is_named(kubeflow: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _config(kubeflow=kubeflow)


def test_a_retry_policy_is_whole() -> None:
    settings = {"retries": 3, "retry_seconds": 10, "retry_factor": 1.5, "retry_seconds_max": 600}
    policy = _task(compile_pipeline(_config(kubeflow=settings)), "champion")["retryPolicy"]
    assert policy == {
        "maxRetryCount": 3,
        "backoffDuration": "10s",
        "backoffFactor": 1.5,
        # Without it KFP's longest pause is none, and nothing is tried again.
        "backoffMaxDuration": "600s",
    }


def test_a_step_is_told_of_its_outputs() -> None:
    documents = compile_pipeline(_config(backbones=("vgg16",)))
    for name, component in documents[0]["components"].items():
        arguments = _container(documents, name.removeprefix("comp-"))["args"]
        told = arguments[arguments.index(names.OUTPUTS_ARGUMENT) + 1]
        assert json.loads(told) == component["outputDefinitions"]


@pytest.mark.parametrize("field", ["data", "metadata", "weights", "root", "serving", "pushed"])
def test_a_relative_place_is_refused(field: str) -> None:
    given = {"data": "gs://bucket/data", field: "some/where"}
    with pytest.raises(InputError, match=rf"kubeflow\.{field}: 'some/where' is relative"):
        compile_pipeline(_config(kubeflow=given))


@pytest.mark.parametrize("text", ["{{x}}", "a [[b]]"])
def test_what_the_server_would_fill_in_is_refused(text: str) -> None:
    data = {"dir": Path("d"), "classes": [{"name": n, "folders": ["f" + n]} for n in ("A", text)]}
    with pytest.raises(InputError, match=r"data\.classes\.1\.name: .* has '(\{\{|\[\[)' in it"):
        compile_pipeline(_config(data=data))


def test_the_root_component_is_one_argument(
    compiled: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = _config(
        backbones=tuple(BACKBONES),
        tuning={"mode": "search"},
        data={"dir": Path("d"), "slice_columns": [f"column_{n}" for n in range(12)]},
        gate={"slices": [{"feature": "sex", "min_accuracy": 0.5}] * 5},
    )
    size = len(json.dumps(compile_pipeline(largest)[0]["root"]).encode())
    assert len(json.dumps(compiled[0]["root"]).encode()) < size < compiler.LARGEST_ARGUMENT
    monkeypatch.setattr(compiler, "LARGEST_ARGUMENT", size - 1)
    with pytest.raises(InputError, match=rf"root component has {size:,} bytes.*largest steps are"):
        compile_pipeline(largest)


def test_compile_says_that_kubeflow_reads_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cxr", "kubeflow", "compile", "--data", DATA, "--preset", "demo"]
    command += ["--backbones", "vgg16", "--output", str(tmp_path / "ir.yaml")]
    for root in ([], ["--root", "s3://bucket/artifacts"]):
        monkeypatch.setattr(sys, "argv", [*command, *root])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code
        said = capsys.readouterr().err
        assert ("does not read s3://bucket/artifacts from this file" in said) is bool(root)


def test_a_key_that_no_step_sees_is_said(tmp_path: Path) -> None:
    for push in ({"signing_key": tmp_path / "k.pem"}, {"signing_key_variable": "SIGNING"}):
        with pytest.raises(InputError, match=f"push.{next(iter(push))}"):
            compile_pipeline(_config(push=push))


def test_a_step_signs_by_a_secret_whose_value_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING", "-----BEGIN EC PRIVATE KEY-----")
    secret = {"secret": "signing", "key": "pem", "variable": "SIGNING"}
    documents = compile_pipeline(
        _config(push={"signing_key_variable": "SIGNING"}, kubeflow={"secrets": [secret]})
    )
    parameters = _task(documents, "pusher-vgg16")["inputs"]["parameters"]
    given = parameters["signing_key_variable"]["runtimeValue"]["constant"]
    assert given == "SIGNING"
    assert "PRIVATE KEY" not in to_yaml(documents)
