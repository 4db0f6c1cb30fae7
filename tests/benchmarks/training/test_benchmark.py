"""The benchmark's course: which process runs when, and what is kept of it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmarks.training import cases, report
from benchmarks.training.__main__ import run
from benchmarks.training.arithmetic import CASES
from benchmarks.training.cases import Bench, CaseFailedError, Finished
from benchmarks.training.store import Store
from common.errors import InputError

PRINTED = (
    "  1  executed  RadiographExampleGen                  2.1 s",
    "  2  cached    Transform                             0.1 s",
    "  3  resolved  Baseline.vgg16                        0.0 s",
    "  4  executed  Trainer.vgg16                        12.0 s",
    "Split per class (…): train 123/123/123; executed 3.0 s",
)


class FakeProcesses:
    """Stands for the processes: writes what they would, and remembers their commands."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.penalties: list[float | None] = []
        self.fail_at: str | None = None

    def __call__(self, command: Sequence[str]) -> Finished:
        """Does as the module that the command names."""
        self.commands.append(list(command))
        assert command[:2] == [sys.executable, "-m"]
        kind = command[2].rpartition(".")[2]
        output = Path(self._option(command, "--output"))
        assert not output.exists() or kind == "cli"
        output.mkdir(parents=True, exist_ok=True)
        if kind == "cli":
            self._cli(command, output)
        else:
            result: dict[str, Any] = {"nodes": {"Trainer": 1.0}, "epochs": [30.0, 20.0]}
            if kind == "pipeline":
                result = {"nodes": {"Trainer.vgg16": 60.0}, "accuracy": {"vgg16": 0.9}}
            Path(self._option(command, "--result")).write_text(json.dumps(result))
        return Finished(40.0, PRINTED)

    def _cli(self, command: Sequence[str], output: Path) -> None:
        (output / "metadata.sqlite").touch()
        settings = yaml.safe_load(Path(self._option(command, "--config")).read_text())
        self.penalties.append(settings["training"]["head"]["l2"])
        if self.fail_at == "cli":
            raise CaseFailedError("killed")
        summary = {"models": {"vgg16": {"accuracy": 0.97}}, "seconds": {"Trainer.vgg16": 12.0}}
        (output / "summary.json").write_text(json.dumps(summary))

    @staticmethod
    def _option(command: Sequence[str], name: str) -> str:
        return command[list(command).index(name) + 1]


@pytest.fixture
def processes() -> FakeProcesses:
    """Processes that take no time."""
    return FakeProcesses()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A benchmark of one backbone."""
    return Bench(
        data=tmp_path / "data",
        weights_dir=tmp_path / "weights",
        output=tmp_path / "bench",
        backbones=("vgg16",),
        seed=0,
        epochs=10,
    )


def kept(bench: Bench) -> dict[str, Any]:
    """What the file of results holds."""
    content: dict[str, Any] = json.loads((bench.output / "results.json").read_text())
    return content


def test_all_cases_are_measured_in_order_and_written_down(
    bench: Bench, processes: FakeProcesses
) -> None:
    run(bench, CASES, processes)
    assert [command[2] for command in processes.commands] == [
        "benchmarks.training.paper",
        "benchmarks.training.stock.pipeline",
        *["pipeline.cli"] * 3,
    ]
    measured = kept(bench)["measured"]
    assert list(measured) == ["a.vgg16", "b", "c", "d", "e"]
    assert measured["a.vgg16"]["epochs"] == [30.0, 20.0]
    assert measured["b"]["seconds"] == measured["c"]["seconds"] == 40.0
    assert measured["c"]["executed"] == 2
    assert measured["c"]["accuracy"] == {"vgg16": 0.97}


def test_another_head_differs_from_the_cold_runs_and_unchanged_is_that_same_head(
    bench: Bench, processes: FakeProcesses
) -> None:
    run(bench, ("c", "d", "e"), processes)
    cold, other, unchanged = processes.penalties
    assert cold is None
    assert other is not None
    assert unchanged == other
    outputs = {FakeProcesses._option(command, "--output") for command in processes.commands}
    assert len(outputs) == 1


def test_what_is_measured_is_not_measured_again(bench: Bench, processes: FakeProcesses) -> None:
    run(bench, ("a", "b"), processes)
    run(bench, CASES, processes)
    assert [command[2] for command in processes.commands].count("benchmarks.training.paper") == 1
    assert len(processes.commands) == 5


def test_a_broken_off_benchmark_goes_on_with_a_head_that_no_cache_knows(
    bench: Bench, processes: FakeProcesses
) -> None:
    run(bench, ("c",), processes)
    processes.fail_at = "cli"
    with pytest.raises(CaseFailedError):
        run(bench, ("d",), processes)
    assert list(kept(bench)["measured"]) == ["c"]
    processes.fail_at = None
    run(bench, ("d",), processes)
    _, broken_off, again = processes.penalties
    assert again is not None
    assert again != broken_off


def test_a_cold_run_starts_in_an_empty_folder(bench: Bench, processes: FakeProcesses) -> None:
    leftover = bench.output / "ours" / "run" / "artifacts"
    leftover.mkdir(parents=True)
    run(bench, ("c",), processes)
    assert not leftover.exists()


@pytest.mark.parametrize("case", ["d", "e"])
def test_what_needs_the_cold_run_says_so(bench: Bench, processes: FakeProcesses, case: str) -> None:
    with pytest.raises(InputError, match=r"needs \(c\)"):
        run(bench, (case,), processes)


def test_measurements_of_other_settings_are_not_mixed(
    bench: Bench, processes: FakeProcesses
) -> None:
    run(bench, ("b",), processes)
    with pytest.raises(InputError, match="another epochs"):
        Store(bench.output / "results.json", bench.settings | {"epochs": 20})


def test_the_tables_show_seconds_ratios_and_what_the_paper_says(
    bench: Bench, processes: FakeProcesses
) -> None:
    measured = run(bench, CASES, processes).measured
    printed = io.StringIO()
    report.show(measured, bench.backbones, bench.epochs, Console(file=printed, width=160))
    lines = printed.getvalue().splitlines()

    def row(start: str) -> list[str]:
        line = next(line for line in lines if start in line)
        return [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]

    # 80 epochs of 20 s beside 40 s.
    assert row("(a) the paper")[1:] == ["1600.0", "94.57%", "–", "0.025×", "–"]
    assert row("(b) stock")[1:] == ["40.0", "90.00%", "40.0×", "–", "–"]
    assert row("(c) this")[1:] == ["40.0", "97.00%", "40.0×", "1.0×", "2"]
    assert row("│ vgg16 ") == ["vgg16", "30.0", "20.0", "25.0", "80", "1600"]
    assert "MISSED  (c) faster than (a): wanted 50×, got 40.0×" in lines
    assert "met     (d) under: wanted 60 s, got 40.0 s" in lines
    assert any("not trained to its end" in line for line in lines)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Python source -> the command that runs it."""

    def call(source: str) -> list[str]:
        file = tmp_path / "script.py"
        file.write_text(source)
        return [sys.executable, str(file)]

    return call


def test_a_process_is_timed_and_its_lines_are_kept_and_shown(
    script: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    finished = cases.execute(script("import time; time.sleep(0.2); print('one\\ntwo')"))
    assert finished.seconds > 0.2
    assert list(finished.lines) == ["one", "two"]
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(("code", "fails"), [(0, False), (3, False), (1, True), (2, True)])
def test_a_run_that_blessed_nothing_counts_and_one_that_failed_does_not(
    script: Callable[[str], list[str]], code: int, fails: bool
) -> None:
    command = script(f"raise SystemExit({code})")
    if fails:
        with pytest.raises(CaseFailedError, match=f"ended with {code}"):
            cases.execute(command)
    else:
        assert cases.execute(command).lines == []
