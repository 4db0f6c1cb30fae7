"""The whole bench, on two commits of a repository whose runs take no time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.processes import used_by, used_so_far
from benchmarks.side_by_side import __main__ as bench
from benchmarks.side_by_side import sides
from benchmarks.side_by_side.record import FIGURES_FILE
from benchmarks.side_by_side.rows import ROWS, turns
from common.errors import InputError
from tests.benchmarks.side_by_side.stand_in import calls, git, radiographs, repository

pytestmark = pytest.mark.filterwarnings("error")
Run = Callable[..., None]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Folder, and what measures there: `out` of all rows is there already."""
    folder = tmp_path_factory.mktemp("bench")
    earlier = repository(folder / "here")
    data = radiographs(folder / "data", 12)
    (folder / "weights").mkdir()

    def run(output: str, **changed: Any) -> None:
        given: dict[str, Any] = {
            "data": data,
            "weights_dir": folder / "weights",
            "output": folder / output,
            "base": earlier,
            "only": "",
            "images": 33,
            "backbones": "densenet121",
            "rounds": 1,
            "seed": 4,
            "base_python": None,
            "checkout": folder / "here",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sides, "_WARM_UP", "pass")
            bench.main(**(given | changed))

    run("out")
    return folder, run


def _figures(output: Path) -> dict[str, dict[str, dict[str, Any]]]:
    found = json.loads((output / FIGURES_FILE).read_text())["figures"]
    return {row: {side: r for side, r in of.items() if r} for row, of in found.items() if of}


def test_each_row_is_measured_on_each_side(measured: tuple[Path, Run]) -> None:
    folder, _ = measured
    figures = _figures(folder / "out")
    assert {(row, side) for row, of in figures.items() for side in of} == {
        (row.name, side) for row in ROWS for _, side in turns(row, 1)
    }
    assert all(
        figure["seconds"] > 0 and figure["cpu"] > 0 and figure["peak_mib"] > 1
        for of in figures.values()
        for rounds in of.values()
        for figure in rounds.values()
    )
    table = (folder / "out" / bench.TABLE_FILE).read_text()
    assert "33 images" in table
    assert "no networks kept (2 models, 3 models)" in table
    # The earlier one keeps no networks: its second start is its first.
    again = figures["serve-again"]
    assert again["old"] == figures["serve"]["old"]
    assert again["new"] != figures["serve"]["new"]
    # Nothing of it is left in the repository.
    assert len(git(folder / "here", "worktree", "list").splitlines()) == 1
    assert not git(folder / "here", "status", "--porcelain")


def test_rows_start_from_what_the_cold_run_left(measured: tuple[Path, Run]) -> None:
    folder, _ = measured
    nodes = {row: of["new"]["0"]["nodes"] for row, of in _figures(folder / "out").items()}
    # The stand-in adds a sign for each run that was there before.
    runs = {row: [name for name in of if name != "total"] for row, of in nodes.items() if of}
    assert runs == {
        "cold": ["run"],
        "penalty": ["run+"],
        "seed": ["run+"],
        "without-fusion": ["run"],
        "make-run": ["run"],
        "first-span": ["run"],
        "delivery": ["run+"],
    }


def test_what_each_side_is_called_with(measured: tuple[Path, Run]) -> None:
    folder, _ = measured
    old, new = (calls(folder / "out" / side / "home") for side in ("old", "new"))
    assert [call["argv"][0] for call in old] == ["run"] * 3 + ["predict", "serve"] + ["run"] * 2

    def options(call: dict[str, Any]) -> dict[str, str]:
        argv = call["argv"]
        return {name: value for name, value in pairwise(argv) if name.startswith("--")}

    cold, penalty, seed = (options(call) for call in new[:3])
    assert cold["--backbones"] == "densenet121"
    assert (cold["--seed"], seed["--seed"]) == ("4", "5")
    assert cold["--output"] == penalty["--output"] == seed["--output"]
    settings = [yaml.safe_load(Path(each["--config"]).read_text()) for each in (cold, penalty)]
    assert settings == [
        {"gate": {"min_accuracy": 0.0}},
        {"gate": {"min_accuracy": 0.0}, "training": {"head": {"l2": 0.02}}},
    ]
    fewer = yaml.safe_load(Path(options(new[3])["--config"]).read_text())
    assert fewer == {**settings[0], "combinations": ["ensemble", "cascade"]}
    assert options(new[4])["--data"].endswith("make-run/phantoms")
    spans = Path(options(new[-1])["--data"])
    assert spans.name == "span-{SPAN}"
    counts = [len(list((spans.parent / f"span-{n}").rglob("*.png"))) for n in (1, 2)]
    assert counts == [30, 3]
    # What differs in the environment is where each finds its code and its caches.
    for one, other in zip(old[:2], new[:2], strict=True):
        seen, there = one["environment"], other["environment"]
        assert seen.keys() == there.keys()
        for name in (name for name in seen if seen[name] != there[name]):
            assert seen[name].startswith(str(folder))


def test_it_goes_on_where_it_stopped(measured: tuple[Path, Run]) -> None:
    folder, run = measured
    run("rest", only="penalty")
    assert set(_figures(folder / "rest")) == {"cold", "penalty"}
    before = len(calls(folder / "rest" / "new" / "home"))
    run("rest", only="penalty")
    assert len(calls(folder / "rest" / "new" / "home")) == before
    run("rest", only="penalty", rounds=2)
    figures = _figures(folder / "rest")
    assert {tuple(rounds) for of in figures.values() for rounds in of.values()} == {("0", "1")}
    assert len(calls(folder / "rest" / "new" / "home")) == before + 2
    with pytest.raises(InputError, match="images was 33"):
        run("rest", only="penalty", images=34)


def test_a_command_that_fails_shows_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    command = [sys.executable, "-c", "import sys; print('why'); sys.exit(3)"]
    with pytest.raises(InputError, match=r"(?s)ended with 3; the whole log is .*why"):
        used_by(command, environment={}, folder=tmp_path, log=log)
    assert used_by(command, environment={}, folder=tmp_path, log=log, allowed=(0, 3)).cpu > 0


def test_the_cpu_of_children_counts(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    command = [sys.executable, "-c", child]
    used = used_by(command, environment={}, folder=tmp_path, log=tmp_path / "log")
    assert used.cpu >= 0.4
    # Of one that runs, with a child that has ended or not.
    with subprocess.Popen([*command[:2], f"{child}; input()"], stdin=subprocess.PIPE) as process:
        since = time.monotonic()
        while (now := used_so_far(process.pid, since)).cpu < 0.4:
            assert process.poll() is None
            assert now.seconds < 600
            time.sleep(0.02)
        assert now.peak_mib > 1
        process.communicate(b"\n")
