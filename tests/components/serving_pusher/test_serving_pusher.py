"""The attempt, and the version it leads to, without a pipeline."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.types import standard_artifacts

from common.errors import InputError
from components.model_card.artifact import ModelCardFiles
from components.serving_pusher import ServingPusher, driver, executor
from components.serving_pusher.driver import Push, choose_attempt, highest_version
from components.serving_pusher.executor import Executor
from schema import contract
from serving.signing.folder import check_version
from serving.signing.keys import hint_of, read_public_key
from tests.components.serving_pusher.conftest import Clock
from tests.serving.signing.versions import write_keys
from tests.serving.warm_up_models import write_taker_of_images


def _version(base: Path, name: str, *, whole: bool = True) -> str:
    folder = base / name
    folder.mkdir(parents=True)
    if whole:
        (folder / "saved_model.pb").touch()
    return str(folder)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["notes", "1.5", ".tmp"], None),
        (["9", "10", "notes"], "10"),
        (["1700000000", "1800000000", "1790000000"], "1800000000"),
    ],
)
def test_the_highest_version_is_the_highest_number(
    tmp_path: Path, names: list[str], expected: str | None
) -> None:
    for name in names:
        _version(tmp_path, name)
    assert highest_version(str(tmp_path)) == expected


def test_no_serving_folder_no_version(tmp_path: Path) -> None:
    assert highest_version(str(tmp_path / "none")) is None


def test_a_push_that_is_being_served_keeps_its_attempt(tmp_path: Path) -> None:
    served = _version(tmp_path, "20")
    assert choose_attempt([Push(0, served)], served) == 0
    assert choose_attempt([Push(0, "10"), Push(1, served)], served) == 1
    # It was pushed twice with one number, since its result was lost from the cache.
    assert choose_attempt([Push(2, "10"), Push(2, served)], served) == 2
    # The last push decides, not the last number.
    assert choose_attempt([Push(3, "10"), Push(0, served)], served) == 0


def test_else_the_attempt_is_a_new_one(tmp_path: Path) -> None:
    assert choose_attempt([], None) == 0
    assert choose_attempt([Push(0, "10")], None) == 1
    other = _version(tmp_path, "20")
    assert choose_attempt([], other) == 0
    assert choose_attempt([Push(0, "10"), Push(4, "11")], other) == 5
    assert choose_attempt([Push(7, "10"), Push(0, "11")], other) == 8
    half = _version(tmp_path, "30", whole=False)
    assert choose_attempt([Push(0, half)], half) == 1


def test_a_version_of_this_second_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    highest = int(clock.time()) + 1
    driver._wait_for_a_higher_version(str(tmp_path), str(highest))
    assert int(clock.time()) == highest + 1


def test_an_older_version_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(time, "sleep")
    driver._wait_for_a_higher_version(str(tmp_path), None)
    driver._wait_for_a_higher_version(str(tmp_path), str(int(time.time()) - 1))


def test_a_version_of_the_far_future_is_an_error(tmp_path: Path) -> None:
    highest = str(int(time.time()) + 3600)
    with pytest.raises(InputError, match=str(tmp_path / highest)):
        driver._wait_for_a_higher_version(str(tmp_path), highest)


def _artifact(kind: type[Any], folder: Path, files: dict[str, str]) -> Any:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    artifact = kind()
    artifact.uri = str(folder)
    return artifact


@pytest.mark.parametrize("precision", [None, "f32"])
@pytest.mark.parametrize("has_card", [False, True])
def test_card_and_note_are_pushed_beside_the_model_and_not_into_its_artifact(
    tmp_path: Path, precision: str | None, has_card: bool
) -> None:
    model_file, note = "Format-Serving/saved_model.pb", contract.SERVING_NOTE_FILE
    inputs = {"model": [_artifact(standard_artifacts.Model, tmp_path / "m", {model_file: "x"})]}
    expected = {contract.SAVED_MODEL_FILE: "x"}
    infra = standard_artifacts.InfraBlessing()
    infra.set_int_custom_property("blessed", 1)
    inputs["infra_blessing"] = [infra]
    if precision:
        infra.set_string_custom_property("precision", precision)
        expected[note] = json.dumps({"precision": precision})
    if has_card:
        files = {"model_card.md": "# Card", "model_card.json": "{}", "cxr_rendering.json": "{}"}
        inputs["model_card"] = [_artifact(ModelCardFiles, tmp_path / "c", files)]
        expected |= {f"assets.extra/{name}": text for name, text in files.items()}
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    destination = {"filesystem": {"base_directory": str(tmp_path / "serving")}}
    Executor(Executor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        inputs, {"pushed_model": [pushed]}, {"push_destination": json.dumps(destination)}
    )
    (version,) = (tmp_path / "serving").iterdir()
    for folder in (version, tmp_path / "pushed"):
        found = {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*")
            if path.is_file()
        }
        # It tells of all others, by their digests.
        told = json.loads(found.pop(contract.SBOM_FILE))["metadata"]["component"]
        assert {one["name"] for one in told["components"]} == set(expected)
        assert told["name"] == "serving"
        assert found == expected
    assert [path.name for path in (tmp_path / "m" / "Format-Serving").iterdir()] == [
        "saved_model.pb"
    ]


def test_warm_up_requests_are_pushed_along(tmp_path: Path) -> None:
    saved_model = tmp_path / "m" / "Format-Serving"
    model = _artifact(standard_artifacts.Model, tmp_path / "m", {})
    write_taker_of_images(saved_model)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    destination = {"filesystem": {"base_directory": str(tmp_path / "serving")}}
    Executor(Executor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        {"model": [model]},
        {"pushed_model": [pushed]},
        {"push_destination": json.dumps(destination)},
    )
    (version,) = (tmp_path / "serving").iterdir()
    assert (version / contract.WARM_UP_FILE).stat().st_size > 0
    assert not (saved_model / contract.WARM_UP_FILE).exists()


def _pushed(tmp_path: Path, **properties: str) -> Path:
    files = {"Format-Serving/saved_model.pb": "x", "Format-Serving/variables/v": "y"}
    model = _artifact(standard_artifacts.Model, tmp_path / "m", files)
    card = {"model_card.md": "# Card", "model_card.json": "{}"}
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    destination = {"filesystem": {"base_directory": str(tmp_path / "serving")}}
    Executor(Executor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        {"model": [model], "model_card": [_artifact(ModelCardFiles, tmp_path / "c", card)]},
        {"pushed_model": [pushed]},
        {"push_destination": json.dumps(destination), **properties},
    )
    (version,) = (tmp_path / "serving").iterdir()
    return version


@pytest.mark.parametrize("by_variable", [True, False])
def test_all_that_is_pushed_is_signed(
    by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_keys(tmp_path)
    key = read_public_key(public)
    given = {"signing_key": str(private)}
    if by_variable:
        monkeypatch.setenv("SIGNING", private.read_text())
        given = {"signing_key_variable": "SIGNING"}
    version = _pushed(tmp_path, signed_by=hint_of(key), **given)
    files = [path for path in version.rglob("*") if path.is_file()]
    assert (version / contract.MODEL_SIGNATURE_FILE) in files
    assert check_version(version, [key]) == len(files) - 1
    assert check_version(tmp_path / "pushed", [key]) == len(files) - 1


def test_nothing_is_pushed_where_it_cant_be_signed(tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    with pytest.raises(InputError, match="signed_by"):
        _pushed(tmp_path, signing_key=str(private), signed_by="0" * 64)
    with pytest.raises(InputError, match=r"none\.pem"):
        _pushed(tmp_path, signing_key=str(tmp_path / "none.pem"))
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("blessed", [True, False])
def test_what_is_blessed_is_converted_beside_the_models_before_it_is_pushed(
    blessed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_file = "Format-Serving/saved_model.pb"
    inputs = {"model": [_artifact(standard_artifacts.Model, tmp_path / "m", {model_file: "x"})]}
    infra = standard_artifacts.InfraBlessing()
    infra.set_int_custom_property("blessed", int(blessed))
    inputs["infra_blessing"] = [infra]
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    base = tmp_path / "serving" / "vgg16"
    converted = []

    def convert(model: str, serving: str) -> None:
        converted.append((model, serving))
        assert not base.exists()

    monkeypatch.setattr(executor, "convert_for", convert)
    destination = json.dumps({"filesystem": {"base_directory": f"{base}/"}})
    Executor(Executor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        inputs, {"pushed_model": [pushed]}, {"push_destination": destination}
    )
    expected = (str(tmp_path / "m" / "Format-Serving"), str(tmp_path / "serving"))
    assert converted == ([expected] if blessed else [])
    assert base.exists() == blessed


def test_the_compiled_node_is_a_pusher_with_this_driver(tmp_path: Path) -> None:
    nodes: list[Any] = []
    for kind in (tfx.components.Pusher, ServingPusher):
        importer = tfx.dsl.Importer(source_uri="m", artifact_type=standard_artifacts.Model)
        pusher = kind(
            model=importer.outputs["result"],
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(tmp_path))
            ),
        ).with_id("Pusher.x")
        pipeline = tfx.dsl.Pipeline("p", str(tmp_path), components=[importer, pusher])
        compiled = compiler.Compiler().compile(pipeline)
        (node,) = (
            n.pipeline_node for n in compiled.nodes if n.pipeline_node.node_info.id == "Pusher.x"
        )
        nodes.append(node)
    stock, own = nodes
    # Where no custom driver runs (Kubeflow Pipelines v2), nothing else differs.
    assert own.parameters == stock.parameters
    assert own.inputs == stock.inputs
    assert own.outputs == stock.outputs
    assert issubclass(
        ServingPusher.EXECUTOR_SPEC.executor_class,
        tfx.components.Pusher.EXECUTOR_SPEC.executor_class,
    )
    assert own.node_info.type.name == "components.serving_pusher.component.ServingPusher"
