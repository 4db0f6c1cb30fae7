"""One run at a time in an output folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.local.exclusive import alone_in

ROOT = Path(__file__).parents[3]
_HOLD = """
import sys
from pathlib import Path
from pipeline.local.exclusive import alone_in
from pipeline.config.layout import OutputLayout
with alone_in(OutputLayout(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def _hold(output: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(output)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    layout = OutputLayout(tmp_path / "output")
    first = _hold(layout.root)
    try:
        message = rf"output is in use by process {first.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d"
        with pytest.raises(InputError, match=message), alone_in(layout):
            pass
        # Who is refused leaves the other's name there.
        assert f"process {first.pid}," in layout.lock.read_text()
    finally:
        first.communicate("")
    with alone_in(layout):
        assert f"process {os.getpid()}," in layout.lock.read_text()


def test_one_that_was_killed_leaves_nothing_to_clear_away(tmp_path: Path) -> None:
    layout = OutputLayout(tmp_path / "output")
    killed = _hold(layout.root)
    killed.kill()
    killed.wait()
    with alone_in(layout):
        pass


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="output"), alone_in(OutputLayout(tmp_path / "file/below")):
        pass


@pytest.mark.parametrize("command", ["run", "study"])
def test_a_command_is_refused_before_it_writes_a_log(command: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    first = _hold(output)
    try:
        second = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", command, "--data", tmp_path, "--output", output],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        first.communicate("")
    assert second.returncode == 2
    assert second.stderr.startswith(f"cxr: output: {output} is in use by process {first.pid}")
    assert second.stderr.count("\n") == 1
    assert [path.name for path in (output / "logs").iterdir()] == ["run.lock"]
