"""What `make run` passes on, with a command line that only writes down its arguments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_CXR = """#!/usr/bin/env python3
import json, pathlib, sys
with open("log", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "phantoms":
    folder = pathlib.Path(sys.argv[3], "NORMAL")
    folder.mkdir(parents=True)
    for name in ("2.png", "1 a.png"):
        (folder / name).touch()
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and what it calls."""
    root = tmp_path / "check out"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "Makefile", root)
    for name, content in (("scripts/setup.sh", "#!/bin/sh\n"), (".venv/bin/cxr", FAKE_CXR)):
        (root / name).write_text(content)
        (root / name).chmod(0o755)
    return root


def _make(root: Path, *arguments: str) -> list[list[str]]:
    """Runs make; returns the arguments of each call of cxr."""
    inherited = ("DATA", "WEIGHTS", "PRESET", "SEED", "OUTPUT", "ARGS", "MAKEFLAGS", "MAKELEVEL")
    environment = {key: value for key, value in os.environ.items() if key not in inherited}
    run = subprocess.run(
        ["make", *arguments], cwd=root, env=environment, check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    log = root / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_run_on_phantoms(checkout: Path) -> None:
    phantoms, run, predict = _make(checkout, "run")
    assert " ".join(phantoms) == (
        "phantoms --out output/phantoms --per-class 36,60,48 --size 256 --seed 0"
    )
    assert " ".join(run) == "run --data output/phantoms --preset demo --output output/demo"
    assert predict == [
        "predict",
        "--model-dir",
        "output/demo/serving",
        "output/phantoms/NORMAL/1 a.png",
    ]


def test_run_on_phantoms_with_choices(checkout: Path) -> None:
    choices = ("WEIGHTS=w w", "SEED=3", "OUTPUT=o o", "PRESET=fast")
    phantoms, run, predict = _make(checkout, "run", *choices)
    assert phantoms[1:3] == ["--out", "output/phantoms-3"]
    assert phantoms[-2:] == ["--seed", "3"]
    assert run[2] == "output/phantoms-3"
    assert run[3:] == [
        *("--preset", "fast", "--output", "o o"),
        *("--seed", "3", "--weights-dir", "w w"),
    ]
    assert predict[2] == "o o/serving"


def test_run_on_data(checkout: Path) -> None:
    data = "../my 'own' images & \"more\""
    assert _make(checkout, "run", f"DATA={data}", "WEIGHTS=../my weights") == [
        [
            *("run", "--data", data, "--preset", "fast", "--output", "output/run"),
            *("--weights-dir", "../my weights"),
        ]
    ]
    last = _make(checkout, "run", "DATA=d", "ARGS=--backbones vgg16")[-1]
    assert last[-2:] == ["--backbones", "vgg16"]


def test_help_lists_every_target(checkout: Path) -> None:
    run = subprocess.run(["make"], cwd=checkout, check=True, capture_output=True, text=True)
    for target in ("help", "setup", "run", "test", "lint", "format", "lock", "clean"):
        assert f"  make {target} " in run.stdout


def test_study(checkout: Path) -> None:
    """Its output folder is its own, not that of `make run`, unless one is given."""
    data = "my 'own' images"
    assert _make(checkout, "study", f"DATA={data}", "WEIGHTS=w w") == [
        ["study", "--data", data, "--weights-dir", "w w"]
    ]
    (checkout / "log").unlink()
    assert _make(checkout, "study", f"DATA={data}", "OUTPUT=o o", "ARGS=--seeds 3") == [
        ["study", "--data", data, "--output", "o o", "--seeds", "3"]
    ]
