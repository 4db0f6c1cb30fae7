"""Where a run's temporary files and logs go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from common.errors import InputError
from common.runtime import logs_to, make_folder, scratch_below
from models.weights import keras_cache


def test_a_folder_of_the_users_is_left_alone(tmp_path: Path) -> None:
    for name in ("tmp", ".tmp-mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    before = tempfile.gettempdir()
    with scratch_below(tmp_path):
        assert Path(tempfile.gettempdir()).parent == tmp_path
        tempfile.mkstemp()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tmp-mine", "tmp"]
    assert (tmp_path / "tmp" / "file").exists()
    assert (tmp_path / ".tmp-mine" / "file").exists()
    assert tempfile.gettempdir() == before


_SCRATCH = """
import sys
from pathlib import Path
from common.runtime import scratch_below
with scratch_below(Path(sys.argv[1])):
    print("there", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    """A study may be under way in the same folder; who made other folders is not known."""
    (tmp_path / ".tmp-earlier").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRATCH, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        with scratch_below(tmp_path):
            assert len(list(tmp_path.iterdir())) == 3
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        process.kill()
        process.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with scratch_below(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".tmp-earlier"]


def test_children_find_the_scratch_folder_from_wherever_they_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("output").mkdir()
    with scratch_below(Path("output")):
        for name in ("TMPDIR", "KERAS_HOME"):
            assert Path(os.environ[name]).is_relative_to(tmp_path.resolve() / "output")


def test_the_cache_of_weights_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "mine"))
    with scratch_below(tmp_path):
        assert Path(os.environ["KERAS_HOME"]).parent.parent == tmp_path
        assert keras_cache() == tmp_path / "mine" / "models"
    assert os.environ["KERAS_HOME"] == str(tmp_path / "mine")


def test_an_output_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output: .*file/below"):
        make_folder(tmp_path / "file" / "below")
    with (
        pytest.raises(InputError, match="--output"),
        logs_to(tmp_path / "file" / "logs" / "run.log", verbose=False),
    ):
        pass
