"""Executes IR step by step, as Kubeflow's backend would, without Kubernetes."""

from __future__ import annotations

import enum
import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.kubeflow.executor_input import (
    LOGS,
    Artifact,
    executor_input,
    output_artifacts,
)
from pipeline.kubeflow.ir import TOLD, Pipeline, Task


class State(enum.Enum):
    """A step's state, by KFP's names."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"


@dataclass
class Step:
    """The state of a step.

    Attributes:
        task: what the IR says of it.
        state: where it is.
        seconds: it took, all tries together.
        peak_bytes: of memory, of its largest process; None where unknown.
        tries: begun.
        reason: of a failure or a skip.
        outputs: its artifacts, once it has succeeded.
    """

    task: Task
    state: State = State.PENDING
    seconds: float = 0.0
    peak_bytes: int | None = None
    tries: int = 0
    reason: str = ""
    outputs: dict[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The way a command ended.

    Attributes:
        code: exit code; 0 is success.
        peak_bytes: of memory; None where unknown.
        reason: of a failure, in one line.
    """

    code: int
    peak_bytes: int | None = None
    reason: str = ""


class StepRunner(Protocol):
    """A runner of commands, each in a process or container of its own."""

    def run(self, task: Task, command: Sequence[str], log: Path) -> Outcome:
        """Run one command to its end; `log` gets what it writes."""

    def stop(self) -> None:
        """End whatever still runs."""


class Watcher(Protocol):
    """Is told of each step's states, from one thread at a time."""

    def changed(self, step: Step) -> None:
        """Take note that the step has another state than before."""


class Walk:
    """One run of a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        parameters: Mapping[str, Any],
        folder: Path,
        run: str,
        runner: StepRunner,
        watcher: Watcher,
    ) -> None:
        """Prepare the run.

        Args:
            pipeline: what the IR says.
            parameters: of the run, all of them.
            folder: for artifacts and logs.
            run: the run's id.
            runner: of the commands.
            watcher: is told of the states.
        """
        self.steps = {task.name: Step(task) for task in pipeline.tasks}
        self._parameters = dict(parameters)
        self._folder = folder
        self._run = run
        self._runner = runner
        self._watcher = watcher
        self._lock = threading.Lock()

    def execute(self, jobs: int) -> bool:
        """Run each step once all that it waits for has ended.

        Args:
            jobs: steps at once, at most.

        Returns:
            Whether none failed.
        """
        running: dict[Future[None], Step] = {}
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while True:
                    for step in self._ready(len(running) < jobs):
                        if len(running) < jobs:
                            self._set(step, State.RUNNING)
                            running[pool.submit(self._execute, step)] = step
                    if not running:
                        break
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        del running[future]
                        future.result()
            except BaseException:
                self._runner.stop()
                for step in running.values():
                    self._set(step, State.CANCELED)
                raise
        return all(step.state is not State.FAILED for step in self.steps.values())

    def _ready(self, free: bool) -> list[Step]:
        """Return the steps that may start; decide on the way which never will."""
        ready = []
        for step in self.steps.values():
            if step.state is not State.PENDING:
                continue
            before = [self.steps[name] for name in step.task.after]
            if any(one.state in (State.PENDING, State.RUNNING) for one in before):
                continue
            lost = [one for one in before if one.state is not State.SUCCEEDED]
            if lost:
                self._set(step, State.SKIPPED, f"{lost[0].task.name} did not succeed")
            elif free:
                ready.append(step)
        return ready

    def _execute(self, step: Step) -> None:
        started = time.monotonic()
        try:
            self._try(step)
        except (KeyError, ValueError, OSError) as error:
            self._set(step, State.FAILED, str(error), started)
        except BaseException:
            self._set(step, State.FAILED, "interrupted", started)
            raise
        if step.state is State.RUNNING:
            self._set(step, State.SUCCEEDED, "", started)

    def _try(self, step: Step) -> None:
        task = step.task
        folder = self._folder / self._run / task.name
        produced = {name: one.outputs for name, one in self.steps.items()}
        told = executor_input(task, self._parameters, produced, folder, self._run)
        command = [json.dumps(told) if word == TOLD else word for word in task.command]
        while True:
            # What a try that failed has left is in the next one's way.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / LOGS).touch()
            step.tries += 1
            log = self._folder / "logs" / self._run / f"{task.name}.{step.tries}.log"
            outcome = self._runner.run(task, command, log)
            step.peak_bytes = max(step.peak_bytes or 0, outcome.peak_bytes or 0) or None
            if outcome.code == 0:
                step.outputs = output_artifacts(task, told)
                return
            if step.tries > task.retries:
                raise ValueError(f"{outcome.reason or f'exit code {outcome.code}'}; see {log}")

    def _set(self, step: Step, state: State, reason: str = "", started: float = 0.0) -> None:
        with self._lock:
            step.state, step.reason = state, reason
            if started:
                step.seconds = time.monotonic() - started
            self._watcher.changed(step)
