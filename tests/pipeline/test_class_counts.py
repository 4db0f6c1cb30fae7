"""Whole runs of 2 and 100 classes, in miniature networks: run, report, card, answers, study.

A few classes, as 3, are what all other runs have.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import requests
import yaml
from PIL import Image

from common.runtime import prepare_environment
from pipeline.config.layout import OutputLayout
from schema import contract
from tests.golden_run import ROOT
from tests.many_classes import class_names
from tests.serving.in_thread import server_in_thread

prepare_environment()

from pipeline.config.pipeline_config import load_config  # noqa: E402
from pipeline.kubeflow.compiler import compile_pipeline  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402

# Classes, images of each, backbones. Five images are the fewest that a run takes.
RUNS: Final = (
    (2, 8, ("vgg16", "densenet121")),
    (100, 5, ("vgg16",)),
)
SIDE: Final = 48


@dataclass(frozen=True)
class Run:
    """A run that is done.

    Attributes:
        classes: names in label order.
        backbones: that were trained.
        settings: the configuration's file.
        images: of the data folder, sorted.
        layout: of its output.
    """

    classes: list[str]
    backbones: tuple[str, ...]
    settings: Path
    images: list[Path]
    layout: OutputLayout


def _draw(folder: Path, names: Sequence[str], each: int) -> list[dict[str, Any]]:
    """Noise on waves, a class each its own; and a table. Returns `data.classes`."""
    generator = np.random.default_rng(len(names))
    lines = []
    places = np.arange(SIDE)
    for label, name in enumerate(names):
        (folder / f"{label} {name.replace('/', '')}").mkdir(parents=True)
        waves = np.add.outer(np.sin(places * (label + 1) / 7), np.cos(places * (label + 1) / 11))
        for number in range(each):
            noise = generator.integers(0, 60, (SIDE, SIDE))
            grey = np.clip(waves * 40 + 90 + noise, 0, 255).astype(np.uint8)
            place = f"{label} {name.replace('/', '')}/{number}.png"
            Image.fromarray(grey).save(folder / place)
            lines.append(f'"{place}",p{label}-{number},{"MF"[number % 2]},{20 + number}')
    table = "\n".join(["file,patient_id,sex,age", *lines])
    (folder / "metadata.csv").write_text(table, encoding="utf-8")
    return [
        {"name": name, "folders": [f"{label} {name.replace('/', '')}"]}
        for label, name in enumerate(names)
    ]


def _cxr(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.miniatures", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"{run[0]} classes")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One after the other: a worker has one at a time."""
    count, each, backbones = request.param
    folder = tmp_path_factory.mktemp(f"run-{count}")
    classes = _draw(folder / "data", class_names(count), each)
    settings = folder / "settings.yaml"
    content = {
        "preset": "demo",
        "seed": 3,
        # Of more than two classes, heads ask first whether it is this one.
        "data": {
            "dir": str(folder / "data"),
            "classes": classes,
            "healthy": class_names(count)[-1],
        },
        "output": str(folder / "output"),
        "backbones": list(backbones),
        "gate": {"min_accuracy": 0.0},
        "training": {"learning_rate": 0.01, "epochs": 2},
    }
    settings.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    _cxr(folder, "run", "--config", settings)
    images = sorted((folder / "data").glob("*/*.png"))
    return Run(class_names(count), backbones, settings, images, OutputLayout(folder / "output"))


@pytest.mark.long
def test_everything_is_pushed_and_described(run: Run) -> None:
    summary = json.loads(run.layout.summary.read_text())
    count = len(run.classes)
    assert summary["data"]["classes"] == run.classes
    assert set(run.backbones) <= summary["models"].keys()
    for model in summary["models"].values():
        assert model["blessed"] and np.shape(model["confusion"]) == (count, count)
        card = Path(model["pushed_to"]) / "assets.extra" / contract.MODEL_CARD_DATA_FILE
        described = json.loads(card.read_text(encoding="utf-8"))
        assert [one["name"] for one in described["results"]["classes"]] == run.classes
        assert len(card.with_name(contract.MODEL_CARD_FILE).read_text("utf-8")) < 60_000
    report = json.loads((run.layout.report / "report.json").read_text())
    assert report["classes"] == run.classes
    assert all(model["paper"] is None for model in report["models"].values())
    page = (run.layout.report / "index.html").read_text(encoding="utf-8")
    assert "the paper" not in page.casefold().replace("the paper's head", "")
    assert len(page) < 15_000_000


@pytest.mark.long
def test_answers_name_the_classes_with_and_without_a_server(run: Run) -> None:
    some = run.images[:: max(len(run.images) // 8, 1)][:8]
    command: tuple[str | Path, ...] = (
        "predict",
        *some,
        "--model-dir",
        run.layout.serving,
        "--json",
    )
    printed = _cxr(run.settings.parent, *command)
    alone = json.loads(printed[printed.index("[") :])
    assert [list(one["probabilities"]) for one in alone] == [run.classes] * len(some)
    instances = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in some]
    with server_in_thread(load_servable, model_dir=run.layout.serving) as server:
        answer = requests.post(
            f"{server.url}/v1/models/{contract.CHAMPION}:predict",
            json={"instances": instances},
            timeout=120,
        )
    answer.raise_for_status()
    for one, other in zip(alone, answer.json()["predictions"], strict=True):
        assert other["classes"] == run.classes
        # What two engines come to.
        expected = list(one["probabilities"].values())
        np.testing.assert_allclose(other["probabilities"], expected, atol=0.03)


@pytest.mark.long
def test_a_study_of_it(run: Run) -> None:
    output = run.settings.parent / "study"
    _cxr(
        run.settings.parent,
        *("study", "--config", run.settings, "--seeds", "1", "--first-seed", "3"),
        *("--output", output),
    )
    report = json.loads((output / "study.json").read_text())
    assert report["data"]["classes"] == run.classes
    assert all(m["paper"] is None for m in report["models"].values())
    assert len((output / "study.md").read_text(encoding="utf-8")) < 60_000


@pytest.mark.long
def test_kubeflow_compiles_it(run: Run) -> None:
    overrides = {"kubeflow": {"data": "gs://bucket/data"}}
    documents = compile_pipeline(load_config(run.settings, overrides=overrides))
    assert json.dumps(run.classes[0])[1:-1] in json.dumps(documents)
