"""`tfx pipeline create` and `tfx run create`, as the README prints them, on miniatures.

With `pipeline/local_runner.py` itself, and a real network, `.ci/run` does the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).parents[2]
# By its path: where TFX's command looks, another package is called `tests`.
RUNNER = f"""
import importlib.util
from pipeline.local_runner import main

spec = importlib.util.spec_from_file_location("miniatures", {str(ROOT / "tests/miniatures.py")!r})
miniatures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(miniatures)
if __name__ == "__main__":
    with miniatures.miniature_backbones():
        main()
"""


def _tfx(arguments: str, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "tfx"), *arguments.split()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_create_and_run_with_a_configuration_file(tmp_path: Path, phantom_folder: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "preset": "demo",
                "data": {"dir": str(phantom_folder)},
                "output": "out",
                "backbones": ["densenet121"],
                "audit": {"enabled": False},
                "training": {"epochs": 2, "augmentations": ["identity"]},
                "gate": {"min_accuracy": 0.0},
            }
        )
    )
    runner = tmp_path / "local_runner.py"
    runner.write_text(RUNNER)
    # TFX keeps its list of pipelines in the home folder.
    (tmp_path / "home").mkdir()
    # As `source .venv/bin/activate` does: TFX's command calls pip by its name.
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "CXR_CONFIG": str(config),
        "HOME": str(tmp_path / "home"),
        "PATH": programs,
    }
    created = _tfx(f"pipeline create --engine=local --pipeline_path={runner}", environment)
    assert 'Pipeline "cxr-tfx" created successfully' in created
    assert not (tmp_path / "out" / "summary.json").exists()

    printed = _tfx("run create --engine=local --pipeline_name=cxr-tfx", environment)

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["champion"] == "densenet121"
    assert "Champion: densenet121" in printed
    assert (Path(summary["champion_pushed_to"]) / "saved_model.pb").is_file()
