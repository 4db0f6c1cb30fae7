"""Where this folder is on PYTHONPATH, every process has miniatures for backbones.

Python reads it at its start. Beam's workers can't be told otherwise: how they start is its own.

A worker stops in the middle of its first bundle as long as the file is there that $CXR_TEST_HOLD
names, and writes its process beside it, so that a test can do away with it, or with what it is for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_MINIATURES = Path(__file__).parents[2] / "miniatures.py"
_STACK = contextlib.ExitStack()


def _replace_backbones(_: ModuleType) -> None:
    _STACK.enter_context(_miniatures().miniature_backbones())


def _hold_bundles(worker: Any) -> None:
    process_bundle = worker.SdkWorker.process_bundle

    def held(*arguments: Any, **further: Any) -> Any:
        hold = Path(os.environ.get("CXR_TEST_HOLD", os.devnull))
        while hold.is_file():
            hold.with_suffix(".pid").write_text(str(os.getpid()))
            time.sleep(0.1)
        return process_bundle(*arguments, **further)

    worker.SdkWorker.process_bundle = held


class _Finder:
    """Changes modules when they have been imported."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of those modules, with more to execute; None of all others."""
        change = self._changes.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def _miniatures() -> Any:
    # By its file: in a worker, `tests` is another folder.
    spec = importlib.util.spec_from_file_location("miniatures", _MINIATURES)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.meta_path.insert(
    0,
    _Finder(
        {
            # Whoever builds networks.
            "models.boundary": _replace_backbones,
            "apache_beam.runners.worker.sdk_worker": _hold_bundles,
        }
    ),
)
