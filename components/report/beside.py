"""Figures that a process of its own draws, while this one is busy with heat maps.

Report ends a run, with little or nothing beside it, and Matplotlib keeps one core busy. Such a
process imports neither TFX nor TensorFlow, so that it costs half a second.

    python -m components.report.beside      drawings come by standard input, pictures go back
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from absl import logging

from components.report.drawing import Picture, style

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Drawing:
    """A figure that is to be drawn.

    Attributes:
        draw: a function of a module that imports no TensorFlow; makes the picture.
        arguments: its own; what pickle can hold.
    """

    draw: Callable[..., Picture]
    arguments: tuple[Any, ...]


class DrawnBeside:
    """The pictures of drawings, on which another process begins at once where there is a core."""

    def __init__(self, drawings: Sequence[Drawing]) -> None:
        """Start it.

        Args:
            drawings: of the figures.
        """
        self._drawings = list(drawings)
        self._process: subprocess.Popen[bytes] | None = None
        if len(os.sched_getaffinity(0)) > 1:
            self._process = _started(self._drawings)

    def __enter__(self) -> DrawnBeside:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, if it is still there."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def pictures(self) -> list[Picture]:
        """Wait for them, in the order of the drawings; what went wrong beside is drawn here."""
        process, self._process = self._process, None
        if process is not None:
            content, _ = process.communicate()
            if process.returncode == 0:
                found: list[Picture] = pickle.loads(content)
                return found
            logging.warning(
                "The process that draws figures ended with %d; they are drawn again.",
                process.returncode,
            )
        return drawn(self._drawings)


def drawn(drawings: Sequence[Drawing]) -> list[Picture]:
    """Draw figures here."""
    with style():
        return [each.draw(*each.arguments) for each in drawings]


def _started(drawings: Sequence[Drawing]) -> subprocess.Popen[bytes] | None:
    # As this process finds its modules, wherever it was started; its own first.
    path = os.pathsep.join(str(Path(each).absolute()) for each in (str(_ROOT), *sys.path))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.report.beside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError as error:
        logging.warning("No process can be started to draw figures: %s", error)
        return None
    assert process.stdin is not None
    try:
        with process.stdin as given:
            pickle.dump([(each.draw, each.arguments) for each in drawings], given)
    except BrokenPipeError:
        # Its end says why.
        pass
    process.stdin = None
    return process


def main() -> None:
    """Draw, as the other process."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    # From the process that started this one.
    wanted = pickle.load(sys.stdin.buffer)
    pickle.dump(drawn([Drawing(*each) for each in wanted]), answers)
    answers.flush()


if __name__ == "__main__":
    main()
