"""The origin of a figure: machine and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Find `cpu` (the model's name) and `cores` that this process may use."""
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0))}


def describe_code() -> dict[str, Any] | None:
    """Find `commit` (hex) and `changed` (whether files differ from it); None without Git."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain")
    # Of an installed package, the folder above may be another repository.
    top = _git("rev-parse", "--show-toplevel")
    if commit is None or changes is None or top is None or Path(top) != _ROOT:
        return None
    return {"commit": commit, "changed": bool(changes)}


def _cpu() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _git(*arguments: str) -> str | None:
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return ran.stdout.strip()
