"""Configuration -> KFP v2 IR: the same DAG, with what Kubernetes has to know of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from common.errors import InputError
from models.backbones import get_backbone
from models.engines import OPENVINO_BF16, OPENVINO_F32, TENSORFLOW
from models.weights import RANDOM, WeightsSource, find_weights, missing_weights_error
from pipeline.config.data import SPAN
from pipeline.config.kubeflow import KubeflowConfig
from pipeline.config.nodes import FeaturizerConfig
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.kubeflow import names
from pipeline.kubeflow.parameters import EXAMPLE_GEN, add_parameters
from pipeline.resolve.engine import ResolvedEngine
from pipeline.resolve.spans import ResolvedSpans

# Where no root is given, KFP takes its installation's; TFX wants one to compile.
_NO_ROOT: Final = "minio://mlpipeline/v2/artifacts"
# They look at what changes without their inputs changing: images, the serving folder.
_NEVER_CACHED: Final = ("Baseline", "Previous", "Pusher")
# Argo and KFP replace what stands in double braces or brackets, wherever it stands.
_EXPANDED: Final = re.compile(r"\{\{|\}\}|\[\[|\]\]")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Linux' bound of one argument (MAX_ARG_STRLEN, 32 pages), as which KFP's driver gets the root
# component.
LARGEST_ARGUMENT: Final = 131_072
_NO_METADATA: Final = "Kubeflow has no metadata store that a step could ask"


def compile_pipeline(config: PipelineConfig) -> list[dict[str, Any]]:
    """Compile the DAG.

    Args:
        config: the checked configuration; `kubeflow` says where the steps find things.

    Returns:
        The documents of the IR: the pipeline, and, where there are volumes or secrets, what
        is Kubernetes' of it.

    Raises:
        InputError: something in the configuration can't run on Kubeflow.
    """
    _check(config)
    weights = {name: _weights(name, config) for name in config.backbones}
    engine = _engine(config)

    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from pipeline.dag.graph import create_pipeline
    from pipeline.dag.platforms import Platform

    settings = config.kubeflow
    platform = Platform(
        root=settings.root or _NO_ROOT,
        serving=settings.serving,
        pushed=settings.pushed,
        features=config.featurizer.store,
    )
    # Which folders they are, RadiographExampleGen's step looks (`pipeline.kubeflow.spans`).
    spans = ResolvedSpans(Path("/"), ()) if config.data.in_spans else None
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=settings.image,
            default_commands=list(names.STEP_COMMAND),
            use_pipeline_spec_2_1=True,
        )
    )
    job = runner.run(create_pipeline(config, weights, engine, platform, spans), write_out=False)
    spec: dict[str, Any] = job["pipelineSpec"]
    if settings.root:
        spec["defaultPipelineRoot"] = settings.root
    add_parameters(spec, config)
    _without_blanks(spec)
    _configure_steps(spec, config)
    spec = _with_kubernetes_names(spec)
    _check_for_server(spec)
    return [spec, *_kubernetes(spec, config)]


def _without_blanks(spec: Mapping[str, Any]) -> None:
    """Write JSON in properties without the blanks that TFX puts in: all count in one argument."""
    for task in spec["root"]["dag"]["tasks"].values():
        for given in task["inputs"].get("parameters", {}).values():
            value = given.get("runtimeValue", {})
            text = value.get("constant")
            if isinstance(text, str) and text.startswith(("{\n", "[\n")):
                value["constant"] = json.dumps(json.loads(text), separators=(",", ":"))


def _check_for_server(spec: Mapping[str, Any]) -> None:
    """Refuse what KFP's server would refuse or break, though it is IR.

    Raises:
        InputError: the pipeline's name, or the size of what travels as one argument.
    """
    name = spec["pipelineInfo"]["name"]
    if not _NAME.fullmatch(name):
        raise InputError(
            f"the pipeline's name {name!r}: Kubeflow takes small letters, digits and hyphens."
        )
    size = len(json.dumps(spec["root"]).encode())
    if size <= LARGEST_ARGUMENT:
        return
    tasks = spec["root"]["dag"]["tasks"]
    largest = sorted(tasks, key=lambda task: len(json.dumps(tasks[task])), reverse=True)[:3]
    raise InputError(
        f"the pipeline's root component has {size:,} bytes, and Kubeflow hands it over as one "
        f"argument of at most {LARGEST_ARGUMENT:,}: leave out backbones, combinations, slices of "
        f"the gate or columns to slice by. The largest steps are {', '.join(largest)}."
    )


def to_yaml(documents: list[dict[str, Any]]) -> str:
    """Write the IR as KFP reads it: the same configuration gives the same text."""
    return yaml.safe_dump_all(documents, sort_keys=True, width=100)


def _check(config: PipelineConfig) -> None:
    problems = []
    if config.kubeflow.data is None:
        problems.append("kubeflow.data: say where the steps find the images (--data)")
    problems += _relative_places(config)
    problems += _expanded_texts(config)
    problems += _problems_of_spans(config)
    problems += _problems_of_signing(config)
    if config.tuning.mode == "reuse":
        problems.append(
            f"tuning.mode: {_NO_METADATA}, so none finds an earlier search's result; search, or "
            "write what `cxr run --tune` found into training_overrides"
        )
    if config.infra_validation.mode == "docker":
        problems.append(
            "infra_validation.mode: TFX has no InfraValidator on Kubeflow; `embedded` works there"
        )
    if problems:
        raise InputError("configuration can't run on Kubeflow:\n  " + "\n  ".join(problems))


def _problems_of_signing(config: PipelineConfig) -> Iterator[str]:
    """Yield a sentence for a key that no step will find: the key itself never goes into the IR."""
    file, variable = config.push.signing_key, config.push.signing_key_variable
    settings = config.kubeflow
    mounts = [Path(volume.mount_path) for volume in settings.volumes]
    if file is not None and not any(file.is_relative_to(mount) for mount in mounts):
        yield (
            f"push.signing_key: {file} is on none of kubeflow.volumes, so no step sees it; take "
            "push.signing_key_variable and kubeflow.secrets"
        )
    if variable and variable not in [secret.variable for secret in settings.secrets]:
        yield (
            f"push.signing_key_variable: {variable} is none of kubeflow.secrets, so no step has "
            "it; name the Secret there"
        )


def _expanded_texts(config: PipelineConfig) -> Iterator[str]:
    """Yield a sentence for each text that the server takes for a place to fill in."""
    for field, text in _texts(config.model_dump(mode="json"), ""):
        if found := _EXPANDED.search(text):
            yield (
                f"{field}: {text!r} has {found[0]!r} in it, which Kubeflow replaces by something "
                "else; write it without"
            )


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name, f"{field}.{name}" if field else name)
            yield from _texts(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{field}.{number}")


def _relative_places(config: PipelineConfig) -> list[str]:
    """Write a sentence for each relative place: steps have no folder that it is relative to."""
    return [
        f"kubeflow.{field}: {place!r} is relative, and steps have no folder that it is relative "
        "to; write the path from / as the steps see it, or a URI such as gs://… or s3://…"
        for field in ("data", "metadata", "weights", "root", "serving", "pushed")
        if (place := getattr(config.kubeflow, field)) is not None
        and not place.startswith("/")
        and "://" not in place
    ]


def _problems_of_spans(config: PipelineConfig) -> list[str]:
    there, metadata = config.kubeflow.data or "", config.kubeflow.metadata or ""
    if there and config.data.in_spans != (SPAN in there):
        return [f"kubeflow.data: either both it and data.dir have {SPAN} in them, or none has"]
    if SPAN in metadata and SPAN not in there:
        return [f"kubeflow.metadata: needs {SPAN} in kubeflow.data, and {there} has none"]
    return [
        f"kubeflow.{field}: {SPAN} can stand once in it, and not in the name of a bucket"
        for field, place in (("data", there), ("metadata", metadata))
        if place.count(SPAN) > 1 or SPAN in "/".join(place.split("/")[: 3 if "://" in place else 0])
    ]


def _weights(name: str, config: PipelineConfig) -> WeightsSource:
    """Take the file's digest from here, its place as the steps see it."""
    backbone = get_backbone(name)
    source = find_weights(backbone, config.weights_dir)
    if source is None or not isinstance(source.path, Path):
        if config.allow_random_weights:
            return WeightsSource(RANDOM)
        raise missing_weights_error(
            backbone, config.weights_dir, "compiling takes the file's digest"
        )
    if config.kubeflow.weights is None:
        raise InputError(
            f"kubeflow.weights: say where the steps find {source.path.name}, as a folder on a "
            "volume or a URI (--weights); the image holds no weights."
        )
    # No Path: that would make one slash of a URI's two.
    there = f"{config.kubeflow.weights.rstrip('/')}/{source.path.name}"
    return dataclasses.replace(source, path=there)


def _engine(config: PipelineConfig) -> ResolvedEngine:
    """Choose what runs the frozen networks there; this machine's CPU and GPU don't matter."""
    featurizer: FeaturizerConfig = config.featurizer
    on_gpu = config.kubeflow.resources_of("Featurizer").accelerator is not None
    if featurizer.engine == "tensorflow" or (on_gpu and featurizer.engine == "auto"):
        return ResolvedEngine(TENSORFLOW, importlib.metadata.version("tensorflow"))
    engine = OPENVINO_BF16 if featurizer.precision == "bf16" else OPENVINO_F32
    return ResolvedEngine(engine, importlib.metadata.version("openvino"))


def _configure_steps(spec: dict[str, Any], config: PipelineConfig) -> None:
    """Set resources, retries and caching, and what a step is told of its inputs."""
    settings = config.kubeflow
    for task_name, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        _tell_artifacts(container["args"], component)
        resources = _resources(config, task_name)
        if resources:
            container["resources"] = resources
        if settings.retries:
            task["retryPolicy"] = _retry_policy(settings)
        cached = config.enable_cache and not task_name.startswith(_NEVER_CACHED)
        if task_name == EXAMPLE_GEN:
            cached = cached and bool(settings.data_version)
        task["cachingOptions"] = {"enableCache": True} if cached else {}


def _retry_policy(settings: KubeflowConfig) -> dict[str, Any]:
    """Write all of it: KFP takes a longest pause that isn't given for none, and never retries."""
    return {
        "maxRetryCount": settings.retries,
        "backoffDuration": f"{settings.retry_seconds}s",
        "backoffFactor": settings.retry_factor,
        "backoffMaxDuration": f"{settings.retry_seconds_max}s",
    }


def _tell_artifacts(arguments: list[str], component: Mapping[str, Any]) -> None:
    """Write the inputs anew into TFX's argument that holds them, and the outputs behind it."""
    place = arguments.index("--json_serialized_inputs_spec_args") + 1
    arguments[place] = json.dumps(component.get("inputDefinitions", {}), sort_keys=True)
    outputs = json.dumps(component.get("outputDefinitions", {}), sort_keys=True)
    arguments[place + 1 : place + 1] = [names.OUTPUTS_ARGUMENT, outputs]


def _resources(config: PipelineConfig, task_name: str) -> dict[str, Any]:
    wanted = config.kubeflow.resources_of(task_name)
    found: dict[str, Any] = {}
    if wanted.cpu is not None:
        found |= {"cpuRequest": wanted.cpu, "cpuLimit": wanted.cpu}
    if wanted.memory_gigabytes is not None:
        found |= {
            "memoryRequest": wanted.memory_gigabytes,
            "memoryLimit": wanted.memory_gigabytes,
        }
    if wanted.accelerator:
        # int64 is text in protocol buffers' JSON.
        found["accelerator"] = {"type": wanted.accelerator, "count": str(wanted.accelerators)}
    return found


def kubernetes_name(node_id: str) -> str:
    """Return the name of a step: KFP makes Kubernetes objects of it, without capitals and dots."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _with_kubernetes_names(spec: dict[str, Any]) -> dict[str, Any]:
    """Name tasks, components and executors anew, as kfp's own compiler names them."""
    tasks = spec["root"]["dag"]["tasks"]
    new = {name: kubernetes_name(name) for name in tasks}
    if len(set(new.values())) != len(new):
        raise ValueError(f"two nodes get one name on Kubernetes: {sorted(new)}")
    executors = spec["deploymentSpec"]["executors"]
    renamed: dict[str, Any] = {"components": {}, "executors": {}, "tasks": {}}
    for name, task in tasks.items():
        component = spec["components"][name]
        renamed["executors"][f"exec-{new[name]}"] = executors[component["executorLabel"]]
        renamed["components"][f"comp-{new[name]}"] = {
            **component,
            "executorLabel": f"exec-{new[name]}",
        }
        task["componentRef"] = {"name": f"comp-{new[name]}"}
        task["taskInfo"] = {"name": new[name]}
        task["dependentTasks"] = sorted(new[name] for name in task.get("dependentTasks", []))
        for artifact in task["inputs"].get("artifacts", {}).values():
            source = artifact["taskOutputArtifact"]
            source["producerTask"] = new[source["producerTask"]]
        renamed["tasks"][new[name]] = task
    return {
        **spec,
        "components": renamed["components"],
        "deploymentSpec": {"executors": renamed["executors"]},
        "root": {**spec["root"], "dag": {"tasks": renamed["tasks"]}},
    }


def _kubernetes(spec: Mapping[str, Any], config: PipelineConfig) -> list[dict[str, Any]]:
    """Build KFP's platform document: volumes, and secrets by name."""
    settings = config.kubeflow
    step: dict[str, Any] = {}
    if settings.volumes:
        step["pvcMount"] = [
            {"constant": volume.claim, "mountPath": volume.mount_path}
            for volume in settings.volumes
        ]
    if settings.secrets:
        step["secretAsEnv"] = [
            {
                "secretName": secret.secret,
                "keyToEnv": [{"secretKey": secret.key, "envVar": secret.variable}],
            }
            for secret in settings.secrets
        ]
    if not step:
        return []
    executors = spec["deploymentSpec"]["executors"]
    steps = {label: step for label in executors}
    return [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": steps}}}}]


def write_ir(config: PipelineConfig, output: Path) -> None:
    """Compile into a file.

    Raises:
        InputError: the file can't be written, or see `compile_pipeline`.
    """
    text = to_yaml(compile_pipeline(config))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"output: {output} can't be written: {error.strerror}.") from error
