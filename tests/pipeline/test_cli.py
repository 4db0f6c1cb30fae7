"""The command line: start-up, exit codes, and the small commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli

HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy", "PIL")


def _cxr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["predict", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pipeline import cli\n"
        f"sys.argv = ['cxr', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage" in ran.stdout
    assert ran.stdout.rstrip().endswith("loaded: []")


def test_a_wrong_configuration_exits_with_2_without_starting_anything(tmp_path: Path) -> None:
    ran = _cxr("run", "--data", str(tmp_path), "--min-accuracy", "90", "--output", str(tmp_path))
    assert ran.returncode == cli.EXIT_INPUT
    assert "gate.min_accuracy" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_data_exits_with_2() -> None:
    ran = _cxr("run")
    assert ran.returncode == cli.EXIT_INPUT
    assert "data" in ran.stderr


def test_phantoms_are_made_and_labelled(tmp_path: Path) -> None:
    out = tmp_path / "phantoms"
    ran = _cxr("phantoms", "--out", str(out), "--per-class", "2,3,1", "--size", "64")
    assert ran.returncode == 0, ran.stderr
    assert "not medical data" in ran.stdout
    assert [len(list((out / c).glob("*.png"))) for c in ("COVID-19", "NORMAL")] == [2, 3]


@pytest.mark.parametrize("per_class", ["2,3", "a,b,c", "0,1,1"])
def test_phantoms_refuse_wrong_counts(tmp_path: Path, per_class: str) -> None:
    ran = _cxr("phantoms", "--out", str(tmp_path / "p"), "--per-class", per_class)
    assert ran.returncode == cli.EXIT_INPUT
    assert not (tmp_path / "p").exists()


def test_predict_without_a_pushed_model_exits_with_2(tmp_path: Path) -> None:
    ran = _cxr("predict", str(tmp_path / "a.png"), "--model-dir", str(tmp_path))
    assert ran.returncode == cli.EXIT_INPUT
    assert "no pushed model" in ran.stderr


def test_predict_takes_the_highest_version(tmp_path: Path) -> None:
    from pipeline.prediction import latest_version

    for version in ("9", "10", "notes"):
        (tmp_path / "champion" / version).mkdir(parents=True)
    assert latest_version(tmp_path, "champion").name == "10"
