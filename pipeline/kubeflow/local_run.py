"""Executes a pipeline's IR on this machine."""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.runtime import make_folder
from pipeline.kubeflow.ir import Pipeline
from pipeline.kubeflow.processes import ProcessRunner
from pipeline.kubeflow.screen import Screen
from pipeline.kubeflow.walk import StepRunner, Walk


def run_ir(
    pipeline: Pipeline,
    parameters: Mapping[str, Any],
    output: Path,
    *,
    jobs: int,
    mounts: Sequence[Path] | None = None,
    retries: bool = True,
    screen: Screen | None = None,
) -> bool:
    """Run all steps and show how they stand.

    Args:
        pipeline: what the IR says.
        parameters: of the run, all of them.
        output: for artifacts and logs; each run has folders of its own below.
        jobs: steps at once, at most.
        mounts: folders that the containers see besides `output`; processes where None.
        retries: whether the IR's retries count.
        screen: standard output where None.

    Returns:
        Whether every step succeeded.

    Raises:
        InputError: `output` can't be written to, or there is no Docker daemon.
    """
    screen = screen or Screen()
    folder = output.resolve()
    make_folder(folder)
    if not retries:
        tasks = tuple(dataclasses.replace(task, retries=0) for task in pipeline.tasks)
        pipeline = dataclasses.replace(pipeline, tasks=tasks)
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    run = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    runner = _runner(folder, mounts)
    screen.say(
        f"{pipeline.name}: KFP v2 IR executed on this machine, without Kubernetes "
        f"({len(pipeline.tasks)} steps, run {run})"
    )
    walk = Walk(pipeline, parameters, folder, run, runner, screen)
    ended_well = walk.execute(jobs)
    screen.table(walk.steps.values())
    failed = [step for step in walk.steps.values() if step.state.value == "FAILED"]
    for step in failed:
        screen.say(f"{step.task.name} failed: {step.reason}")
    screen.say(f"Artifacts in {folder / run}, logs in {folder / 'logs' / run}")
    return ended_well


def _runner(folder: Path, mounts: Sequence[Path] | None) -> StepRunner:
    if mounts is None:
        return ProcessRunner()
    from pipeline.kubeflow.containers import ContainerRunner

    return ContainerRunner([folder, *mounts])
