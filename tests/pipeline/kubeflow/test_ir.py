"""Reading IR: order, parameters, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kubeflow.ir import Pipeline, read_ir
from schema.errors import InputError

ECHO = {"container": {"image": "none", "command": ["true"], "args": []}}


def spec(waits: dict[str, list[str]], **tasks: Any) -> dict[str, Any]:
    """A pipeline of steps that do nothing: task -> the tasks it waits for."""
    return {
        "pipelineInfo": {"name": "phantom"},
        "components": {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in waits},
        "deploymentSpec": {"executors": {f"exec-{name}": ECHO for name in waits}},
        "root": {
            "dag": {
                "tasks": {
                    name: {
                        "componentRef": {"name": f"comp-{name}"},
                        "dependentTasks": after,
                        **tasks.get(name, {}),
                    }
                    for name, after in waits.items()
                }
            }
        },
    }


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Any], Pipeline]:
    """(content) writes it as YAML and reads it as IR."""

    def call(content: Any) -> Pipeline:
        file = tmp_path / "ir.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return read_ir(file)

    return call


def test_the_order_is_one_in_which_the_tasks_can_run(read: Callable[[Any], Pipeline]) -> None:
    waits = {"c": ["b"], "a": [], "b": ["a"], "d": ["a", "c"]}
    order = [task.name for task in read(spec(waits)).tasks]
    assert all(order.index(one) < order.index(name) for name in waits for one in waits[name])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "no YAML"),
        ("- 1\n", "no KFP pipeline"),
        ("", "no KFP pipeline"),
        (spec({"a": ["b"]}), r"wait for \['b'\]"),
        (spec({"a": ["b"], "b": ["a"]}), "wait for each other"),
        (spec({"a": []}, a={"parameterIterator": {}}), "task a is a loop"),
        ({**spec({"a": []}), "components": {"comp-a": {"dag": {}}}}, "a DAG of its own"),
        ({**spec({"a": []}), "components": {}}, "comp-a"),
        (
            {**spec({"a": []}), "deploymentSpec": {"executors": {"exec-a": {"resolver": {}}}}},
            "no executor for resolver",
        ),
    ],
)
def test_what_is_refused_is_named(
    content: Any, words: str, read: Callable[[Any], Pipeline]
) -> None:
    with pytest.raises(InputError, match=words):
        read(content)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml can't be read"):
        read_ir(tmp_path / "gone.yaml")


def _with_parameters(**definitions: dict[str, Any]) -> Pipeline:
    return Pipeline("phantom", (), definitions)


def test_parameters_have_defaults_and_types() -> None:
    pipeline = _with_parameters(
        seed={"parameterType": "NUMBER_INTEGER", "defaultValue": 0},
        data={"parameterType": "STRING"},
        wet={"parameterType": "BOOLEAN", "defaultValue": False},
    )
    given = pipeline.parse(["data=a=b", "seed=-3", "wet=True"])
    assert pipeline.values(given) == {"data": "a=b", "seed": -3, "wet": True}
    assert pipeline.values({"data": ""}) == {"data": "", "seed": 0, "wet": False}
    with pytest.raises(InputError, match="data has no default"):
        pipeline.values({})


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("seed", "write name=value"),
        ("sed=1", "'sed' is unknown; the IR has seed"),
        ("seed=1.5", "no NUMBER_INTEGER"),
        ("seed=", "no NUMBER_INTEGER"),
    ],
)
def test_an_assignment_that_is_wrong_is_named(assignment: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _with_parameters(seed={"parameterType": "NUMBER_INTEGER"}).parse([assignment])


@given(st.integers() | st.floats(allow_nan=False) | st.text())
def test_a_value_comes_back_as_it_was(value: int | float | str) -> None:
    kind = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING"}[type(value)]
    pipeline = _with_parameters(x={"parameterType": kind})
    text = value if isinstance(value, str) else repr(value)
    assert pipeline.parse([f"x={text}"]) == {"x": value}
