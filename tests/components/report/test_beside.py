"""Figures from another process are those that this one would draw."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.report import figures
from components.report.beside import Drawing, DrawnBeside, drawn

_WANTED = [
    Drawing(figures.confusion, ("a", [[3, 1], [0, 4]], ["ill", "well"])),
    Drawing(figures.confusion, ("b", [[4, 0], [2, 2]], ["ill", "well"])),
]


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


# TFX's path has another package `tests`, so that the other process wouldn't find this module.
_MODULE = '''
import os, sys
from components.report.drawing import Picture

def modules_there(name):
    """Write heavy modules that the process has as a caption, and its number."""
    heavy = {"tensorflow", "tfx", "keras", "apache_beam"} & set(sys.modules)
    return Picture(name, ",".join(sorted(heavy)), str(os.getpid()), "", b"")

def ends_its_process(name, here):
    """Be drawn in the process `here` alone."""
    if os.getpid() != here:
        os._exit(7)
    return Picture(name, "", "", "", b"")
'''
_NAME = "cxr_drawn_beside"


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module's functions, on the path of this process, and so of the one beside it."""
    (tmp_path / f"{_NAME}.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(_NAME)
    del sys.modules[_NAME]


@pytest.mark.slow
def test_they_are_the_same_to_the_last_byte_and_in_the_same_order(
    two_cores: None, functions: Any
) -> None:
    drawings = [*_WANTED, Drawing(functions.modules_there, ("where",))]
    with DrawnBeside(drawings) as beside:
        *pictures, where = beside.pictures()
    assert pictures == drawn(_WANTED)
    assert where.caption == "" and where.alt != str(os.getpid())


@pytest.mark.slow
def test_what_fails_beside_is_drawn_here_and_said(
    two_cores: None, functions: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "absl"),
        DrawnBeside([Drawing(functions.ends_its_process, ("a", os.getpid()))]) as beside,
    ):
        (picture,) = beside.pictures()
    assert picture.name == "a" and "ended with 7" in caplog.text


@pytest.mark.slow
def test_the_process_ends_with_the_block(two_cores: None) -> None:
    beside = DrawnBeside(_WANTED)
    process = beside._process
    assert process is not None
    with pytest.raises(KeyboardInterrupt), beside:
        raise KeyboardInterrupt
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()


def test_one_core_draws_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    with DrawnBeside(_WANTED) as beside:
        assert beside._process is None
        assert [each.name for each in beside.pictures()] == ["a-confusion", "b-confusion"]
