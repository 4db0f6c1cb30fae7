"""Steps as fresh processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.kubeflow.ir import Task
from pipeline.kubeflow.walk import Outcome

_PYTHON = ("python", "python3")
_ROOT = Path(__file__).resolve().parents[2]


class ProcessRunner:
    """Each step a process, in this program's own environment."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, task: Task, command: Sequence[str], log: Path) -> Outcome:
        """Run the command; `python` is this interpreter."""
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable if command[0] in _PYTHON else command[0], *command[1:]]
        with log.open("wb") as output:
            with self._lock:
                if self._stopped:
                    return Outcome(1, reason="stopped")
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": _python_path()},
                    start_new_session=True,
                )
                self._running.add(process)
            # wait4 is what tells the memory of this one child.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            with self._lock:
                self._running.discard(process)
        reason = last_line(log) if process.returncode else ""
        return Outcome(process.returncode, usage.ru_maxrss * 1024, reason)

    def stop(self) -> None:
        """Kill the steps and what they have started."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                # Its session has its own group, so Beam's workers end with it.
                os.killpg(process.pid, 9)


def _python_path() -> str:
    """Put this project first, wherever the step's working folder is."""
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))


def last_line(log: Path) -> str:
    """Return what a program that failed usually says last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it wrote nothing"
