"""The IR as a package: its check, its digest, its parameters."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from pipeline.kubeflow.package import Package, parameters_from, read_package
from tests.pipeline.kubeflow.submit_runs import IR, write_ir

PACKAGE = Package("chest", b"", [IR])


def test_a_pipeline_spec_is_read(tmp_path: Path) -> None:
    file = write_ir(tmp_path)
    package = read_package(file)
    assert package.name == "chest"
    assert package.content == file.read_bytes()
    assert package.tasks == ("csv-example-gen", "trainer-vgg16")
    assert package.root is None


def test_a_platform_spec_may_follow(tmp_path: Path) -> None:
    file = tmp_path / "IR.yaml"
    file.write_text(yaml.safe_dump_all([dict(IR), {"platforms": {"kubernetes": {}}}]))
    package = read_package(file)
    assert len(package.documents) == 2
    assert package.digest != PACKAGE.digest
    assert len(list(yaml.safe_load_all(package.without_cache().content))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no mapping"),
        ("- a\n", "no mapping"),
        ("just text", "no mapping"),
        ("a: [", "no YAML"),
        ("a: !!python/object:os.system {}", "no YAML"),
        ("&a {root: *a, pipelineInfo: {name: x}, deploymentSpec: {}}", "JSON"),
        ("{1: a, b: c, root: {}, pipelineInfo: {name: x}, deploymentSpec: {}}", "JSON"),
        ("pipelineSpec: {}", "PipelineJob"),
        ("pipelineInfo: {name: x}", "deploymentSpec"),
        ("{pipelineInfo: {name: x}, deploymentSpec: {}}", "root"),
        ("{pipelineInfo: x, deploymentSpec: {}, root: {}}", "pipelineInfo"),
        ("{pipelineInfo: {name: 3}, deploymentSpec: {}, root: {}}", "pipelineInfo.name"),
        ("{pipelineInfo: {name: ''}, deploymentSpec: {}, root: {}}", "pipelineInfo.name"),
        (
            "{pipelineInfo: {name: x}, deploymentSpec: {}, root: {dag: {tasks: {a: 1}}}}",
            "task",
        ),
    ],
)
def test_what_is_no_pipeline_spec_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "IR.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_package(file)
    assert str(refusal.value).startswith(f"{file}: ")
    assert "cxr kubeflow compile" in str(refusal.value)


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_package(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(InputError, match="no YAML"):
        read_package(tmp_path / "binary")


def test_the_digest_is_of_what_the_file_says_not_of_its_layout(tmp_path: Path) -> None:
    one = read_package(write_ir(tmp_path))
    (tmp_path / "other.yaml").write_text(json.dumps(IR, indent=3))
    other = read_package(tmp_path / "other.yaml")
    assert one.digest == other.digest
    assert one.version_name == other.version_name
    assert one.version_name == f"sha256-{one.digest.removeprefix('sha256:')[:12]}"
    changed = read_package(write_ir(tmp_path, schemaVersion="2.0.0"))
    assert changed.version_name != one.version_name


def test_without_cache_each_task_is_computed_anew_also_in_nested_dags(tmp_path: Path) -> None:
    package = read_package(write_ir(tmp_path))
    before = copy.deepcopy(package.spec)
    anew = package.without_cache()
    spec = yaml.safe_load(anew.content)
    tasks = [*spec["root"]["dag"]["tasks"].values()]
    tasks += spec["components"]["comp-nested"]["dag"]["tasks"].values()
    assert [task["cachingOptions"] for task in tasks] == [{"enableCache": False}] * 3
    assert anew.digest != package.digest
    assert package.spec == before


@given(st.text())
def test_a_string_is_taken_as_it_is(text: str) -> None:
    assert parameters_from(PACKAGE, [f"note={text}"]) == {"note": text}


@given(st.integers(-(2**53), 2**53), st.sampled_from(["epochs", "old"]))
def test_whole_numbers_are_read_back(value: int, name: str) -> None:
    (read,) = parameters_from(PACKAGE, [f"{name}={value}"]).values()
    assert read == value
    assert type(read) is int
    # The backend's numbers are doubles.
    assert int(float(read)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back(value: float) -> None:
    (read,) = parameters_from(PACKAGE, [f"rate={value!r}"]).values()
    assert math.copysign(1, float(read)) == math.copysign(1, value)
    assert read == value
    assert json.loads(json.dumps(read)) == value


@given(st.booleans(), st.sampled_from([str.lower, str.upper, str.title]))
def test_truth_values_are_read_back(value: bool, spelled: Any) -> None:
    assert parameters_from(PACKAGE, [f"tune={spelled(str(value))}"]) == {"tune": value}


@given(st.text(), st.sampled_from(["epochs", "rate", "tune", "old"]))
def test_any_other_text_is_an_input_error_or_a_value_that_json_can_say(
    text: str, name: str
) -> None:
    try:
        (read,) = parameters_from(PACKAGE, [f"{name}={text}"]).values()
    except InputError as error:
        assert str(error).startswith(f"parameter: {name} must be ")
        assert "epochs (NUMBER_INTEGER, 3)" in str(error)
    else:
        json.dumps(read, allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "epochs=1.5",
        "epochs=1_000",
        "epochs= 3",
        "epochs=9007199254740993",
        "epochs=",
        "rate=nan",
        "rate=inf",
        "rate=1e999",
        "rate=1,5",
        "rate=1-2",
        "tune=1",
        "tune=yes",
        "table={}",
    ],
)
def test_a_value_of_another_type_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"^parameter: {text.partition('=')[0]} "):
        parameters_from(PACKAGE, [text])


def test_an_unknown_name_is_refused_and_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"knows no 'epoch'.*epochs \(NUMBER_INTEGER, 3\)"):
        parameters_from(PACKAGE, ["epoch=3"])
    with pytest.raises(InputError, match=r"'epochs' must be NAME=VALUE.*There is: epochs"):
        parameters_from(PACKAGE, ["epochs"])
    with pytest.raises(InputError, match="epochs is given twice"):
        parameters_from(PACKAGE, ["epochs=1", "epochs=2"])
    bare = Package("x", b"", [{"root": {}, "pipelineInfo": {}, "deploymentSpec": {}}])
    with pytest.raises(InputError, match="has no parameters"):
        parameters_from(bare, ["epochs=3"])


def test_a_parameter_without_a_default_must_be_given() -> None:
    root = {"inputDefinitions": {"parameters": {"data": {"parameterType": "STRING"}}}}
    package = Package("x", b"", [{"root": root}])
    with pytest.raises(InputError, match="give --parameter data=VALUE"):
        parameters_from(package, [])
    assert parameters_from(package, ["data=a=b"]) == {"data": "a=b"}
    assert parameters_from(PACKAGE, []) == {}


def test_what_kfps_own_compiler_writes_is_understood(tmp_path: Path) -> None:
    from kfp import compiler, dsl

    def step(epochs: int) -> Any:
        return dsl.ContainerSpec(image="cxr:1", command=["train"], args=[str(epochs)])

    def whole(data: str, epochs: int = 3, rate: float = 0.1, tune: bool = True) -> None:
        component(epochs=epochs)

    # kfp wants types where this file's future import leaves their names.
    step.__annotations__ = {"epochs": int}
    whole.__annotations__ = {"data": str, "epochs": int, "rate": float, "tune": bool}
    component = dsl.container_component(step)
    compiled = dsl.pipeline(name="compiled")(whole)

    file = tmp_path / "compiled.yaml"
    compiler.Compiler().compile(compiled, str(file))
    package = read_package(file)
    assert package.name == "compiled"
    assert package.tasks == ("step",)
    given = ["data=gs://b", "epochs=4", "rate=2", "tune=false"]
    assert parameters_from(package, given) == {
        "data": "gs://b",
        "epochs": 4,
        "rate": 2.0,
        "tune": False,
    }
    with pytest.raises(InputError, match=r"data has no default.*epochs \(NUMBER_INTEGER, 3"):
        parameters_from(package, [])
    spec = yaml.safe_load(package.without_cache().content)
    assert spec["root"]["dag"]["tasks"]["step"]["cachingOptions"] == {"enableCache": False}
