"""The order, the conditions and the failures of a walk, with steps that only pretend."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kubeflow.ir import TOLD, Pipeline, Task
from pipeline.kubeflow.walk import Outcome, State, Step, Walk

MODEL = {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}}


class Pretender:
    """Runs nothing; remembers what it was told."""

    def __init__(self, act: Callable[[str, dict[str, Any]], int] = lambda *_: 0) -> None:
        self.told: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.stopped = False
        self._act = act
        self._lock = threading.Lock()

    def run(self, task: Task, command: Sequence[str], log: Path) -> Outcome:
        told = json.loads(next(word for word in command if word.startswith('{"inputs"')))
        with self._lock:
            self.told[task.name] = told
            self.order.append(task.name)
        return Outcome(self._act(task.name, told), peak_bytes=1, reason="it broke")

    def stop(self) -> None:
        self.stopped = True


class Deaf:
    """Remembers the states."""

    def __init__(self) -> None:
        self.states: list[tuple[str, State]] = []

    def changed(self, step: Step) -> None:
        self.states.append((step.task.name, step.state))


def task(name: str, *after: str, **fields: Any) -> Task:
    """A step that makes a model out of the models of those that it waits for."""
    source = {"componentInputParameter": "seed"}
    return Task(
        **{
            "name": name,
            "inputs": {
                "artifacts": {
                    one: {"taskOutputArtifact": {"producerTask": one, "outputArtifactKey": "model"}}
                    for one in after
                },
                "parameters": {"seed": source, "n": {"runtimeValue": {"constant": 2.0}}},
            },
            "after": after,
            "component": {"outputDefinitions": {"artifacts": {"model": MODEL}}},
            "container": {"image": "none"},
            "command": ["step", TOLD],
            "retries": 0,
            **fields,
        }
    )


def walk(
    tasks: Sequence[Task], folder: Path, runner: Pretender, jobs: int = 2
) -> tuple[bool, Mapping[str, Step]]:
    """Walks through them; whether it ended well, and the steps."""
    made = Walk(Pipeline("p", tuple(tasks), {}), {"seed": 7}, folder, "run", runner, Deaf())
    return made.execute(jobs), made.steps


def leave(told: Mapping[str, Any], output: str = "model", **metadata: Any) -> None:
    """Leaves metadata as TFX does: without the artifact's type."""
    (artifact,) = told["outputs"]["artifacts"][output]["artifacts"]
    left = {"name": artifact["name"], "uri": artifact["uri"], "metadata": metadata}
    Path(told["outputs"]["outputFile"]).write_text(
        json.dumps({"artifacts": {output: {"artifacts": [left]}}})
    )


def test_a_step_gets_parameters_and_what_came_before_without_its_type(tmp_path: Path) -> None:
    def act(name: str, told: dict[str, Any]) -> int:
        leave(told, blessed=1.0)
        return 0

    runner = Pretender(act)
    ended_well, steps = walk([task("a"), task("b", "a")], tmp_path, runner)
    assert ended_well
    assert runner.told["b"]["inputs"]["parameterValues"] == {"seed": 7, "n": 2.0}
    (artifact,) = runner.told["b"]["inputs"]["artifacts"]["a"]["artifacts"]
    assert artifact == {
        "name": "run/a/model",
        # As KFP's driver hands it on; the step knows it by its own definitions.
        "type": {"instanceSchema": ""},
        "uri": str(tmp_path / "run" / "a" / "model"),
        "metadata": {"blessed": 1.0},
    }
    assert steps["b"].peak_bytes == 1


def test_behind_a_failure_nothing_runs(tmp_path: Path) -> None:
    runner = Pretender(lambda name, _: int(name == "b"))
    tasks = [
        task("a"), task("b", "a"), task("c", "b"), task("d", "c"), task("e", "a"),
    ]  # fmt: skip
    ended_well, steps = walk(tasks, tmp_path, runner)
    assert not ended_well
    assert {name: step.state.value for name, step in steps.items()} == {
        "a": "SUCCEEDED", "b": "FAILED", "c": "SKIPPED", "d": "SKIPPED", "e": "SUCCEEDED",
    }  # fmt: skip
    assert "it broke" in steps["b"].reason
    assert "b.1.log" in steps["b"].reason
    assert steps["c"].reason == "b did not succeed"


@pytest.mark.parametrize(("failures", "state"), [(1, State.SUCCEEDED), (3, State.FAILED)])
def test_a_step_is_tried_again_without_what_it_left(
    failures: int, state: State, tmp_path: Path
) -> None:
    tries = []

    def act(name: str, told: dict[str, Any]) -> int:
        (artifact,) = told["outputs"]["artifacts"]["model"]["artifacts"]
        folder = Path(artifact["uri"])
        tries.append(folder.exists())
        folder.mkdir(parents=True)
        return int(len(tries) <= failures)

    _, steps = walk([task("a", retries=2)], tmp_path, Pretender(act))
    assert steps["a"].state is state
    assert tries == [False] * min(failures + 1, 3)


def test_when_it_is_stopped_so_are_the_steps(tmp_path: Path) -> None:
    def act(name: str, told: dict[str, Any]) -> int:
        raise KeyboardInterrupt

    runner = Pretender(act)
    with pytest.raises(KeyboardInterrupt):
        walk([task("a"), task("b", "a")], tmp_path, runner)
    assert runner.stopped


@settings(max_examples=30)
@given(st.data(), st.integers(1, 4))
def test_whatever_the_dag_each_step_runs_once_and_after_what_it_waits_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, jobs: int
) -> None:
    count = data.draw(st.integers(1, 8))
    waits = [data.draw(st.sets(st.sampled_from(range(i)))) if i else set() for i in range(count)]
    tasks = [task(str(i), *map(str, sorted(after))) for i, after in enumerate(waits)]
    runner = Pretender()
    ended_well, steps = walk(tasks, tmp_path_factory.mktemp("walk"), runner, jobs)
    assert ended_well
    assert sorted(runner.order) == sorted(one.name for one in tasks)
    place = {name: index for index, name in enumerate(runner.order)}
    assert all(place[one] < place[each.name] for each in tasks for one in each.after)
    assert all(step.state is State.SUCCEEDED for step in steps.values())
