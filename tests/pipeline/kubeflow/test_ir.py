"""Reading IR: order, parameters, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import InputError
from pipeline.kubeflow.ir import Pipeline, pipeline_of
from pipeline.kubeflow.package import read_package

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
        return pipeline_of(read_package(file), file)

    return call


def test_the_order_is_one_in_which_the_tasks_can_run(read: Callable[[Any], Pipeline]) -> None:
    waits = {"c": ["b"], "a": [], "b": ["a"], "d": ["a", "c"]}
    order = [task.name for task in read(spec(waits)).tasks]
    assert all(order.index(one) < order.index(name) for name in waits for one in waits[name])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "no YAML"),
        (spec({"a": ["b"]}), r"wait for \['b'\]"),
        (spec({"a": ["b"], "b": ["a"]}), "wait for each other"),
        (spec({"a": []}, a={"parameterIterator": {}}), "task a is a loop"),
        ({**spec({"a": []}), "components": {"comp-a": {"dag": {}}}}, "a DAG of its own"),
        ({**spec({"a": []}), "components": {}}, "comp-a"),
        (
            {**spec({"a": []}), "deploymentSpec": {"executors": {"exec-a": {"resolver": {}}}}},
            "no executor for resolver",
        ),
        (
            {**spec({"a": []}), "deploymentSpec": {"executors": {"exec-a": {"importer": {}}}}},
            "no executor for importer",
        ),
        (spec({"a": []}, a={"triggerPolicy": {"condition": "true"}}), "task a is conditional"),
        (
            spec({"a": []}, a={"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}),
            "an exit handler",
        ),
        (
            {
                **spec({"a": []}),
                "deploymentSpec": {
                    "executors": {
                        "exec-a": {"container": {"args": ["{{$.outputs.artifacts['m'].uri}}"]}}
                    }
                },
            },
            "nothing is filled in for {{",
        ),
    ],
)
def test_what_is_refused_is_named(
    content: Any, words: str, read: Callable[[Any], Pipeline]
) -> None:
    with pytest.raises(InputError, match=words):
        read(content)


def test_a_value_that_is_given_wins_over_the_default() -> None:
    definitions: dict[str, dict[str, Any]] = {
        "seed": {"defaultValue": 0.0},
        "data": {"defaultValue": "here"},
    }
    pipeline = Pipeline("phantom", (), definitions)
    assert pipeline.values({"seed": 3}) == {"seed": 3, "data": "here"}
