"""`cxr runs` and `cxr runs diff` as a user meets them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli
from pipeline.runs.record import Node

if TYPE_CHECKING:
    from tests.pipeline.runs.conftest import Runs

Cxr = Callable[..., int]
FIRST, SECOND, THIRD = (
    "2026-01-02T03-04-05.000001",
    "2026-01-02T03-05-06.000002",
    "2026-01-02T03-06-07.000003",
)


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch) -> Cxr:
    """Arguments -> exit code; printed as on a terminal of 100 columns that knows no colours."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("common.console._WIDTH_OF_FILES", 100)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    return call


def lines(text: str) -> list[str]:
    """Lines without the blanks that align them."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_table_has_a_section_a_run(
    cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.whole(FIRST)
    failed = runs.begin(SECOND, seed=4)
    failed.state = "failed"
    failed.nodes["Trainer.tiny"] = Node(how="failed")
    runs.write(failed)
    assert cxr("runs", "--output", runs.layout.root) == 0
    printed = capsys.readouterr().out
    (first,) = [line for line in lines(printed) if line.startswith("2026-01-02T03-04-05 ")]
    assert re.fullmatch(r"\S+ complete, \d+ s d1d1d1d1 tiny \* 9/10 90.0% yes yes", first)
    (second,) = [line for line in lines(printed) if line.startswith("2026-01-02T03-05-06 ")]
    assert second == "2026-01-02T03-05-06 failed at – – – – –"
    assert any(line.endswith("Trainer.tiny, seed 4") for line in lines(printed))
    assert "* champion" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_ids_that_begin_alike_are_shown_whole(
    cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = [FIRST, "2026-01-02T03-04-05.000002"]
    for run_id in (*alike, SECOND):
        runs.whole(run_id)
    assert cxr("runs", "--output", runs.layout.root) == 0
    printed = capsys.readouterr().out
    assert all(run_id in printed for run_id in alike)
    assert SECOND[:19] in printed
    assert SECOND not in printed


def test_what_is_gone_or_torn_is_said_below_the_table(
    cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id in (FIRST, SECOND, THIRD):
        runs.whole(run_id)
    shutil.rmtree(runs.layout.artifacts / "Evaluator.tiny" / "blessing")
    runs.file(FIRST).write_text("{")
    assert cxr("runs", "--output", runs.layout.root) == 0
    printed = capsys.readouterr().out
    assert "Of 2 runs, 2 of 6 artifacts are no longer on disk." in printed
    assert printed.count("9/10 90.0%") == 2
    assert f"{runs.file(FIRST)} can't be read as the record of a run" in printed
    assert cxr("runs", "--output", runs.layout.root, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in listed] == [SECOND, THIRD, FIRST]
    assert set(listed[-1]) == {"run", "unreadable"}


def test_where_no_run_has_begun(cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert cxr("runs", "--output", runs.layout.root) == cli.EXIT_INPUT
    assert "holds no run" in capsys.readouterr().err
    # Somebody removed them.
    runs.layout.runs.mkdir(parents=True)
    assert cxr("runs", "--output", runs.layout.root) == 0
    assert "No run" in capsys.readouterr().out
    assert cxr("runs", "--json", "--output", runs.layout.root) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_difference_in_words(cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = runs.whole(FIRST, correct=8)
    changed: dict[str, Any] = {"training_learning_rate": 0.002, "gate_min_accuracy": 0.5}
    second = runs.whole(SECOND, baseline=baseline, only=(2, 1), **changed)
    for record, rate in ((baseline, 0.001), (second, 0.002)):
        record.configuration["backbones"] = ["tiny", "small"]
        for name in ("tiny", "small"):
            record.configuration[f"training_of.{name}.learning_rate"] = rate
        runs.write(record)
    assert cxr("runs", "diff", "previous", "latest", "--output", runs.layout.root) == 0
    printed = capsys.readouterr().out
    shown = lines(printed)
    assert shown[0].startswith(f"A {FIRST}: complete, ")
    assert "training.learning_rate 0.001 0.002" in shown
    assert "training_of.{tiny,small}.learning_rate 0.001 0.002" in shown
    assert "gate.min_accuracy 0.9 0.5" in shown
    assert "The code is the same." in shown
    assert "The data are the same, by their digest d1d1d1d1." in shown
    assert "tiny 8/10 80.0% 9/10 90.0% +1 1 2 yes yes" in shown
    assert "Champion: tiny" in shown
    assert max(map(len, printed.splitlines())) <= 100


def test_other_data_are_shown_by_split_and_class(
    cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND, digest="d2", train=11)
    output = runs.layout.root
    # The options may come before the subcommand, too.
    assert cxr("runs", "--output", output, "diff", FIRST, "latest") == 0
    shown = lines(capsys.readouterr().out)
    assert "digest d1d1d1d1 d2d2d2d2" in shown
    assert "train, COVID-19 10 11" in shown
    assert "test, Normal 5 5" in shown
    assert "tiny 9/10 90.0% 9/10 90.0% +0.0 points yes yes" in shown
    assert cxr("runs", "--json", "diff", FIRST, "latest", "--output", output) == 0
    assert json.loads(capsys.readouterr().out)["same_data"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "diff", "2025", "latest"], "cxr: A: no run's id begins with '2025'"),
        (["runs", "diff", "latest", "2026"], "cxr: B: '2026' is the beginning of"),
    ],
)
def test_a_run_that_is_not_there_exits_with_2(
    cxr: Cxr, runs: Runs, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    assert cxr(*arguments, "--output", runs.layout.root) == cli.EXIT_INPUT
    assert capsys.readouterr().err.startswith(said)


def test_nothing_heavy_is_imported_and_nothing_written(runs: Runs) -> None:
    runs.whole(FIRST)
    runs.whole(SECOND)
    output = runs.layout.root
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    heavy = (
        "ml_metadata",
        "tensorflow",
        "tfx",
        "tensorflow_model_analysis",
        "keras",
        "apache_beam",
    )
    code = (
        "import sys\n"
        "from pipeline import cli\n"
        f"for arguments in (['runs'], ['runs', 'diff', 'previous', 'latest']):\n"
        f"    sys.argv = ['cxr', *arguments, '--output', {str(output)!r}]\n"
        "    try:\n        cli.main()\n"
        "    except SystemExit as stop:\n        assert not stop.code\n"
        f"print('loaded:', [m for m in {heavy!r} if m in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "9/10 90.0%" in ran.stdout
    assert ran.stdout.rstrip().endswith("loaded: []")
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
