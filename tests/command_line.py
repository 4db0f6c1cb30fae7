"""Runs the command `cxr` in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import cli


def cxr(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run it with these words, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["cxr", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0
