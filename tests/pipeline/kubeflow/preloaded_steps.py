"""Steps as processes that are forked from one that has imported TensorFlow and TFX already.

    python -m tests.pipeline.kubeflow.preloaded_steps      the one that is forked

Importing them takes longer than most steps. Their backbones are miniatures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from pipeline.kubeflow.ir import Task
from pipeline.kubeflow.processes import last_line
from pipeline.kubeflow.walk import Outcome
from tests.miniatures import miniature_backbones

_ROOT = Path(__file__).parents[3]
_STEP = "pipeline.kubeflow.step"


class PreloadedSteps:
    """In the place of `pipeline.kubeflow.processes.ProcessRunner`; one step at a time."""

    def __init__(self) -> None:
        self._forked = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._one = threading.Lock()

    def run(self, task: Task, command: Sequence[str], log: Path) -> Outcome:
        """Run one step to its end."""
        log.parent.mkdir(parents=True, exist_ok=True)
        place = list(command).index(_STEP)
        assert command[place - 1] == "-m"
        with self._one:
            assert self._forked.stdin
            assert self._forked.stdout
            self._forked.stdin.write(json.dumps([*command[place + 1 :], str(log)]) + "\n")
            self._forked.stdin.flush()
            code = int(self._forked.stdout.readline())
        return Outcome(code, None, last_line(log) if code else "")

    def stop(self) -> None:
        """End the process that is forked."""
        assert self._forked.stdin
        self._forked.stdin.close()
        self._forked.wait(60)


def _step(arguments: Sequence[str], log: str) -> int:
    """In the forked process."""
    with Path(log).open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        from pipeline.kubeflow.step import main

        return main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _serve() -> None:
    with miniature_backbones():
        from common.runtime import quick_tfx_import

        with quick_tfx_import():
            from tfx.orchestration.kubeflow.v2.container import (  # noqa: F401
                kubeflow_v2_run_executor,
            )
        import tensorflow_model_analysis
        import tensorflow_transform  # noqa: F401

        del tensorflow_model_analysis
        for line in sys.stdin:
            *arguments, log = json.loads(line)
            child = os.fork()
            if not child:
                os._exit(_step(arguments, log))
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
