"""Nodes of a DAG that meet, wait and fail as they are told.

Processes beside the test's import this file by a name that no package has, from a folder to which
the test copies it. TFX reads the annotations as they are, so they are no texts here.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import String

from common.errors import InputError
from common.progress import Progress

# Far more than a process takes to load TFX.
_PATIENCE_S = 120


@component
def Source(  # noqa: N802
    value: OutputArtifact[String],
    node: Parameter[str],
    does: Parameter[str],
    notes: Parameter[str],
) -> None:
    """Begin something.

    Args:
        value: written.
        node: its own id.
        does: see `_do`.
        notes: folder.
    """
    _do(node, does, Path(notes))
    value.write(node)


@component
def Sink(  # noqa: N802
    one: InputArtifact[String],
    other: InputArtifact[String],
    value: OutputArtifact[String],
    node: Parameter[str],
    does: Parameter[str],
    notes: Parameter[str],
) -> None:
    """Need two others.

    Args:
        one: read.
        other: read.
        value: written.
        node: its own id.
        does: see `_do`.
        notes: folder.
    """
    _do(node, does, Path(notes))
    value.write(f"{one.value}+{other.value}")


def _do(node: str, does: str, notes: Path) -> None:
    """Note which process this is, and do one thing, or several with commas between them.

    Args:
        node: that runs.
        does: `meets NODE`: wait until it runs; `kills NODE`: with its process; `counts`: say how
            far it is; `errs` as users do; `breaks`; `waits` for ever.
        notes: folder; a file a node.
    """
    (notes / f"{node}.tmp").write_text(str(os.getpid()))
    (notes / f"{node}.tmp").rename(notes / node)
    for what, _, other in (each.strip().partition(" ") for each in does.split(",")):
        if what in ("meets", "kills"):
            _wait_until((notes / other).exists)
        if what == "kills":
            os.kill(int((notes / other).read_text()), signal.SIGKILL)
        if what == "counts":
            Progress(f"things of {node}", 2).advance(2)
        if what == "errs":
            raise InputError(f"{node}: the user's mistake")
        if what == "breaks":
            raise ZeroDivisionError(f"{node} is broken")
        if what == "waits":
            _wait_until(lambda: False)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)
