"""Steps as processes: what is told of their end, and that all of them can be ended."""

from __future__ import annotations

import threading
from pathlib import Path

from pipeline.kubeflow.ir import Task
from pipeline.kubeflow.processes import ProcessRunner
from pipeline.kubeflow.walk import Outcome
from tests.pipeline.kubeflow.test_walk import task

TASK: Task = task("a")


def test_a_process_tells_its_code_its_memory_and_why_it_failed(tmp_path: Path) -> None:
    runner = ProcessRunner()
    fine = "import pipeline; print('well')"
    done = runner.run(TASK, ["python", "-c", fine], tmp_path / "logs" / "a.log")
    assert (done.code, done.reason) == (0, "")
    assert done.peak_bytes
    assert done.peak_bytes > 2**20
    assert (tmp_path / "logs" / "a.log").read_text() == "well\n"
    failed = "import sys; print('first'); print('no such thing', file=sys.stderr); sys.exit(3)"
    done = runner.run(TASK, ["python3", "-c", failed], tmp_path / "b.log")
    assert (done.code, done.reason) == (3, "no such thing")
    done = runner.run(TASK, ["/bin/sh", "-c", "exit 1"], tmp_path / "c.log")
    assert (done.code, done.reason) == (1, "it wrote nothing")


def test_stopped_it_kills_what_runs_and_starts_nothing_more(tmp_path: Path) -> None:
    runner, ends = ProcessRunner(), list[Outcome]()
    log = tmp_path / "a.log"

    def work() -> None:
        ends.append(runner.run(TASK, ["/bin/sh", "-c", "echo there; sleep 600"], log))

    thread = threading.Thread(target=work)
    thread.start()
    while not log.exists() or not log.read_text():
        assert thread.is_alive()
    runner.stop()
    thread.join(60)
    assert [outcome.code for outcome in ends] == [-9]
    assert runner.run(TASK, ["/bin/sh", "-c", "true"], tmp_path / "b.log") == Outcome(
        1, reason="stopped"
    )
    assert not (tmp_path / "b.log").read_text()
