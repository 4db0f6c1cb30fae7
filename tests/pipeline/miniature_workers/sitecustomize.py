"""Where this folder is on PYTHONPATH, every process has miniatures for backbones.

Python reads it at its start. Beam's workers can't be told otherwise: how they start is its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_ONCE_THERE = "models.boundary"
_MINIATURES = Path(__file__).parents[2] / "miniatures.py"
_STACK = contextlib.ExitStack()


class _Finder:
    """Puts the miniatures in place when whoever builds networks has been imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of the one module, with more to execute; None of all others."""
        if name != _ONCE_THERE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def execute_and_replace(module: ModuleType) -> None:
            execute(module)
            _STACK.enter_context(_miniatures().miniature_backbones())

        spec.loader.exec_module = execute_and_replace  # type: ignore[method-assign]
        return spec


def _miniatures() -> Any:
    # By its file: in a worker, `tests` is another folder.
    spec = importlib.util.spec_from_file_location("miniatures", _MINIATURES)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.meta_path.insert(0, _Finder())
