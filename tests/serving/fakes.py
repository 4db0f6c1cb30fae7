"""Servables that need no TensorFlow."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from grpc import StatusCode

from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors, TensorSpec
from serving.servables.servable import PREDICT, Servable, Signature

ROWS = Signature(
    "serving_default",
    PREDICT,
    {"x": TensorSpec("float", (-1,))},
    {"y": TensorSpec("float", (-1,))},
)
SUM = Signature("sum", PREDICT, {"x": TensorSpec("float", (-1,))}, {"y": TensorSpec("float", ())})


class Doubler(Servable):
    """y = 2 x, or the sum of x; notes how large the batches are, and can be held up.

    A row of -1 is one that it can't answer.
    """

    engine = "fake"

    def __init__(self) -> None:
        super().__init__({s.name: s for s in (ROWS, SUM)}, {})
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        self.go.wait(10)
        self.batches.append(len(inputs["x"]))
        if (inputs["x"] == -1).any():
            raise ServingError(StatusCode.INVALID_ARGUMENT, "a row of -1")
        if signature.name == "sum":
            return {"y": np.asarray(inputs["x"].sum())}
        return {"y": 2 * inputs["x"]}


class Loader:
    """Loads a folder that holds the file `good`; counts, and keeps what it made."""

    def __init__(self) -> None:
        self.loaded: list[Path] = []
        self.servables: dict[Path, Doubler] = {}

    def __call__(self, path: Path) -> Servable:
        self.loaded.append(path)
        if not (path / "good").exists():
            raise ServingError(StatusCode.NOT_FOUND, f"no SavedModel in {path}")
        self.servables[path] = Doubler()
        return self.servables[path]


def write_version(base: Path, number: int, *, good: bool = True) -> Path:
    """A version's folder, whole or half-copied."""
    folder = base / str(number)
    folder.mkdir(parents=True)
    if good:
        (folder / "good").touch()
    return folder
