"""A whole run with columns of a table: its models are judged, pushed, and asked."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml

from pipeline.config.layout import OutputLayout
from pipeline.phantoms import write_phantoms
from schema import contract

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT: Final = Path(__file__).parents[2]
TABLED: Final = ("table", "joint")
FEATURES: Final[dict[str, Any]] = {
    "crp": {
        "column": "crp_val", "kind": "numeric", "unit": "mg/l", "low": 0, "high": 600,
        "presence": True,
    },
    "ward": {"kind": "categorical", "values": 4, "no_outcome": True},
    "sex": {"kind": "categorical", "values": 2},
    "notes": {"kind": "text", "buckets": 16},
}  # fmt: skip
# What a user may well have set, too.
SETTINGS: Final[dict[str, Any]] = {
    "preset": "demo",
    "seed": 3,
    "gate": {"min_accuracy": 0.0},
    "featurizer": {"precision": "f32"},
    "backbones": ["xception"],
    "combinations": [],
    "serve": {"precision": "int8"},
    "training": {"learning_rate": 0.01, "epochs": 3, "validation": "holdout"},
}


@dataclass(frozen=True)
class _Run:
    """Folder of the phantoms, the table, and what the run left."""

    data: Path
    table: Path
    output: Path
    printed: str

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(OutputLayout(self.output).summary.read_text())
        return content

    def version(self, model: str) -> Path:
        (found,) = (OutputLayout(self.output).serving / model).iterdir()
        return found


def _cxr(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.miniatures", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def _write_table(data: Path, target: Path) -> None:
    """The phantoms' own table, with columns that tell the class, and small letters for sex."""
    with (data / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rng = random.Random(1)
    classes = sorted({row["label"] for row in rows})
    for row in rows:
        place = classes.index(row["label"])
        row["crp_val"] = (
            "" if rng.random() < 0.2 else f"{max(0, rng.gauss(50 + 60 * place, 20)):.1f}"
        )
        row["ward"] = rng.choice("abc" if place else "aab")
        row["notes"] = "" if rng.random() < 0.3 else ("cough" if place == 1 else "routine check")
        row["sex"] = row["sex"].lower()
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> _Run:
    folder = tmp_path_factory.mktemp("tabled")
    data = write_phantoms(folder / "phantoms", per_class=(20, 20, 20), size=128, seed=7)
    table = folder / "table.csv"
    _write_table(data, table)
    (data / "metadata.csv").unlink()
    settings = folder / "settings.yaml"
    of_data = {"dir": str(data), "metadata": str(table), "features": FEATURES}
    settings.write_text(yaml.safe_dump({**SETTINGS, "data": of_data}))
    output = folder / "run"
    done = _cxr(folder, "run", "--config", settings, "--output", output)
    assert not done.returncode, done.stdout + done.stderr
    return _Run(data, table, output, done.stdout + done.stderr)


def test_models_of_the_table_are_judged_and_pushed_like_others(run: _Run) -> None:
    models = run.summary["models"]
    assert set(models) == {"xception", *TABLED}
    assert all(models[name]["blessed"] for name in TABLED)
    validation = {name: _validation(run, name) for name in TABLED}
    # What can't be held out of so few patients is answered out of fold.
    assert all(found["folds"] > 1 for found in validation.values())
    better = validation["joint"]["table"]["joint_is_better"]
    assert bool(models["joint"]["pushed_to"]) == better
    assert models["table"]["pushed_to"]
    assert "cells of sex in another spelling are read as F or M: " in " ".join(run.printed.split())


def test_every_column_is_sliced_by_and_has_its_share(run: _Run) -> None:
    report = json.loads((OutputLayout(run.output).report / "report.json").read_text())
    sliced = {row["feature"] for row in report["models"]["joint"]["slices"]}
    assert {f"{name} (feature)" for name in FEATURES} <= sliced
    parts = {part["name"]: part for part in report["models"]["joint"]["parts"]["parts"]}
    assert {"the image", "the table", *FEATURES} < set(parts)
    assert parts["crp"]["mean_absolute"] > 0
    page = (OutputLayout(run.output).report / "index.html").read_text()
    assert "<h2>The table</h2>" in page


def _validation(run: _Run, name: str) -> dict[str, Any]:
    (file,) = OutputLayout(run.output).artifacts.glob(
        f"Trainer.{name}/model_run/*/{contract.VALIDATION_FILE}"
    )
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _exported(run: _Run, name: str) -> Path:
    """The SavedModel of a model, pushed or not."""
    (file,) = OutputLayout(run.output).artifacts.glob(
        f"Trainer.{name}/model/*/Format-Serving/{contract.SAVED_MODEL_FILE}"
    )
    return file.parent


@pytest.mark.parametrize("name", TABLED)
def test_the_saved_model_answers_with_and_without_the_table(name: str, run: _Run) -> None:
    import tensorflow as tf

    signature = tf.saved_model.load(str(_exported(run, name))).signatures[contract.SIGNATURE_TABLE]
    given = {
        "crp": tf.constant([5.0, 180.0, float("nan")]),
        "ward": tf.constant([b"a", b"c", b""]),
        "sex": tf.constant([b"F", b"M", b""]),
        "notes": tf.constant([b"routine check", b"cough", b""]),
    }
    if name == "joint":
        image = next(run.data.rglob("*.png")).read_bytes()
        given["image_bytes"] = tf.constant([image] * 3)
    answer = {key: value.numpy() for key, value in signature(**given).items()}
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert np.abs(answer["probabilities"][0] - answer["probabilities"][1]).max() > 0.01
    names = [each.decode() for each in answer[contract.OUTPUT_PART_NAMES][0]]
    image_first = [contract.PART_IMAGE] if name == "joint" else []
    assert names == [*image_first, *FEATURES, contract.PART_REST] or set(names) == {
        *image_first, *FEATURES, contract.PART_REST
    }  # fmt: skip
    missing = [names.index(column) for column in FEATURES]
    assert answer[contract.OUTPUT_PART_LOG_ODDS].shape == (3, len(names))
    assert np.isfinite(answer[contract.OUTPUT_PART_LOG_ODDS][:, missing]).all()


def test_predict_reads_a_table_and_says_what_it_lacks(run: _Run, tmp_path: Path) -> None:
    images = sorted(run.data.rglob("*.png"))[:3]
    rows = tmp_path / "rows.csv"
    rows.write_text(f"file,crp_val,sex\n{images[0].name},12.5,male\n{images[1].name},,w\n")
    serving = OutputLayout(run.output).serving
    asked = ("predict", "--json", "--model-dir", serving, "--model", "table", "--table", rows)
    done = _cxr(tmp_path, *asked, *images)
    assert not done.returncode, done.stderr
    assert "1 of 3 files have no row in" in done.stderr
    answers = json.loads(done.stdout)
    assert [Path(answer["file"]).name for answer in answers] == [each.name for each in images]
    assert answers[0]["probabilities"] != answers[2]["probabilities"]
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"file,sex\n{images[0].name},O\n")
    refused = _cxr(tmp_path, *asked[:-1], wrong, images[0])
    assert refused.returncode
    assert "line 2: sex 'O' is none of F and M" in refused.stderr


def test_warm_up_asks_the_table_too(run: _Run) -> None:
    from serving.servables.tensorflow_servable import TensorFlowServable
    from serving.warm_up import warm_up

    version = run.version("table")
    assert warm_up(TensorFlowServable(version), version) == 3


def test_int8_is_tried_where_there_is_a_network(run: _Run) -> None:
    """And where there is none, the reason says so."""
    reasons = {}
    for name in TABLED:
        (file,) = OutputLayout(run.output).artifacts.glob(
            f"ServingPrecision.{name}/files/*/int8.json"
        )
        reasons[name] = json.loads(file.read_text())["reason"]
    if "neither VNNI nor AMX" in reasons["table"]:
        pytest.skip("this CPU has no int8")
    assert reasons["table"] == "it sees no image, and so has no network to be quantised"
    assert "Exception" not in reasons["joint"]
    assert "is no model" not in reasons["joint"]


def test_a_study_says_that_it_has_no_models_of_the_table(run: _Run, tmp_path: Path) -> None:
    done = _cxr(
        tmp_path, "study", "--config", run.table.parent / "settings.yaml",
        "--output", tmp_path / "study", "--seeds", "1",
    )  # fmt: skip
    assert done.returncode
    assert "table.models: a study's models see images alone" in done.stdout + done.stderr
