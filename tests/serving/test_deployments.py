"""What starts TensorFlow Serving, checked as far as it can be without one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.backbones import BACKBONES
from pipeline.config.pipeline_config import load_config
from serving.core.model_config import read_config
from serving.openvino_repository import CONFIG_FILE, MOUNTED
from serving.settings import METRICS_PATH

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _config_files() -> list[Path]:
    return sorted(DEPLOY.rglob("models.config"))


@pytest.mark.parametrize("file", _config_files(), ids=lambda file: file.parent.name)
def test_models_config_names_what_a_run_pushes(file: Path) -> None:
    models = read_config(file)
    combinations = load_config(overrides={"data": {"dir": "."}}).combinations
    assert set(models) == {"champion", *BACKBONES, *combinations}
    assert {str(m.base_path) for m in models.values()} == {f"/models/{name}" for name in models}


@pytest.mark.parametrize("folder", ["tensorflow-serving", "kubernetes"])
def test_monitoring_is_on_where_the_embedded_server_has_it(folder: str) -> None:
    # The package of TensorFlow Serving's protocol buffers lacks this one.
    text = " ".join((DEPLOY / folder / "monitoring.config").read_text().split())
    assert text == f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}'


# Folder of a compose.yaml -> the variable that names the models.
COMPOSE = {"tensorflow-serving": "SERVING_DIR", "openvino-model-server": "OPENVINO_DIR"}


@pytest.mark.parametrize("folder", COMPOSE)
def test_compose_publishes_on_loopback_and_mounts_read_only(folder: str) -> None:
    (service,) = _yaml(DEPLOY / folder / "compose.yaml")["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume["read_only"] for volume in service["volumes"])
    assert any(f"${{{COMPOSE[folder]}:?" in volume["source"] for volume in service["volumes"])
    for argument in service["command"]:
        if ".config" in argument:
            assert (DEPLOY / folder / Path(argument).name).is_file()


def test_openvino_model_server_finds_what_is_exported() -> None:
    (service,) = _yaml(DEPLOY / "openvino-model-server" / "compose.yaml")["services"].values()
    arguments = dict(argument.split("=") for argument in service["command"])
    (volume,) = service["volumes"]
    assert volume["target"] == MOUNTED
    assert arguments["--config_path"] == f"{MOUNTED}/{CONFIG_FILE}"
    published = {port.rsplit(":", 1)[1] for port in service["ports"]}
    assert published == {arguments["--port"], arguments["--rest_port"]}


def _compose() -> list[str] | None:
    """Docker's plugin, or the program of its own that it once was."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return None


@pytest.mark.skipif(_compose() is None, reason="needs docker compose; no daemon")
@pytest.mark.parametrize("folder", COMPOSE)
def test_compose_takes_its_file(folder: str, tmp_path: Path) -> None:
    file = DEPLOY / folder / "compose.yaml"
    command = [*(_compose() or []), "-f", str(file), "config"]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", COMPOSE[folder]: str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert str(tmp_path) in ran.stdout


def test_kustomization_lists_all_manifests_and_files() -> None:
    kustomization = _yaml(KUBERNETES / "kustomization.yaml")
    listed = {*kustomization["resources"], "kustomization.yaml"}
    (generator,) = kustomization["configMapGenerator"]
    listed.update(generator["files"])
    assert listed == {path.name for path in KUBERNETES.iterdir()}
    volumes = _yaml(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]["volumes"]
    assert generator["name"] in [v["configMap"]["name"] for v in volumes if "configMap" in v]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl; no cluster")
def test_kustomize_builds() -> None:
    ran = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    manifests = list(yaml.safe_load_all(ran.stdout))
    for manifest in manifests:
        _check(manifest)
    assert sorted(manifest["kind"] for manifest in manifests) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Service",
    ]


def _manifests() -> list[Path]:
    """What Kubernetes itself is sent; kustomization.yaml is kubectl's own, without a schema."""
    return sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml"})


def _check(manifest: dict[str, Any]) -> None:
    """Holds it against the schema of the newest Kubernetes; unknown fields are errors."""
    # Here, since every worker imports this file, and this takes a second.
    import kubernetes_validate

    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", _manifests(), ids=lambda file: file.stem)
def test_manifests_keep_to_kubernetes_schema(file: Path) -> None:
    _check(_yaml(file))


POD = ["spec", "template", "spec"]


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ([], "replicas", 2),
        ([*POD, "containers", 0], "port", 8501),
        ([*POD, "containers", 0, "startupProbe", "httpGet"], "url", "/"),
        (POD, "terminationGracePeriodSeconds", "a minute"),
        (["spec"], "selector", None),
    ],
    ids=["unknown-top", "unknown-container", "unknown-probe", "wrong-type", "missing"],
)
def test_the_schema_catches(where: list[str | int], field: str, value: object) -> None:
    manifest = _yaml(KUBERNETES / "deployment.yaml")
    at = manifest
    for key in where:
        at = at[key]
    at[field] = value
    if value is None:
        del at[field]
    import kubernetes_validate

    with pytest.raises(kubernetes_validate.ValidationError, match=field) as refused:
        _check(manifest)
    assert list(refused.value.path)[: len(where)] == where


def test_ports_probes_and_selectors_fit_together() -> None:
    deployment, service = (_yaml(KUBERNETES / f"{n}.yaml") for n in ("deployment", "service"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    arguments = dict(argument.split("=") for argument in container["args"])
    assert int(arguments["--port"]) == ports["grpc"]
    assert int(arguments["--rest_api_port"]) == ports["rest"]
    assert {p["targetPort"] for p in service["spec"]["ports"]} == set(ports)
    for kind in ("startupProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] in ports
        assert re.match(r"/v1/models/champion\b", container[kind]["httpGet"]["path"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    autoscaler = _yaml(KUBERNETES / "autoscaler.yaml")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_all_ask_for_one_image() -> None:
    images = {
        match
        for path in DEPLOY.rglob("*.yaml")
        for match in re.findall(r"image: (tensorflow/serving:\S+)", path.read_text())
    }
    assert len(images) == 1


def test_kserve_serves_a_model_that_is_pushed() -> None:
    spec = _yaml(DEPLOY / "kserve" / "inference-service.yaml")["spec"]["predictor"]["model"]
    assert spec["storageUri"].endswith("/champion")
