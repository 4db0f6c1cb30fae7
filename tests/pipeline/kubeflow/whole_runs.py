"""What the tests of whole pipelines share: the command, the images, the compiled pipeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.phantoms import write_phantoms

SETTINGS = ("--preset", "demo", "--backbones", "vgg16", "--min-accuracy", "0.2")


def cxr(*words: str | Path, timeout: float = 1400) -> subprocess.CompletedProcess[str]:
    """Runs `cxr` in a process of its own; `timeout` in seconds."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def draw_images(folder: Path) -> Path:
    """42 phantoms of 96 pixels."""
    return write_phantoms(folder / "p", (12, 16, 14), size=96, seed=3)


def compile_to(folder: Path, images: Path, *words: str) -> Path:
    """The IR; models are pushed beside it."""
    done = cxr(
        "kubeflow", "compile", "--data", images, "--output", folder / "ir.yaml", *SETTINGS,
        "--serving", folder / "serving", "--pushed", folder / "pushed", *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "ir.yaml"
