"""A baseline without a model in it, and the same figures as TFX's own Evaluator finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner
from google.protobuf import json_format
from tfx.components.evaluator import executor as stock
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.evaluator.configuration import SliceGateConfig
from components.evaluator.eval_config import eval_config
from components.evaluator.executor import Executor
from schema import contract


def _model(folder: Path, *, whole: bool) -> standard_artifacts.Model:
    model = standard_artifacts.Model()
    model.uri = str(folder)
    serving = Path(path_utils.serving_model_dir(model.uri))
    serving.mkdir(parents=True)
    if whole:
        (serving / contract.SAVED_MODEL_FILE).touch()
    return model


@pytest.mark.parametrize("whole", [True, False])
def test_an_empty_baseline_is_none(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[dict[str, Any]] = []
    monkeypatch.setattr(
        stock.Executor, "Do", lambda self, inputs, outputs, properties: handed.append(inputs)
    )
    given = {
        "examples": [_answers(tmp_path / "answers")],
        "model": [_model(tmp_path / "model", whole=True)],
        "baseline_model": [_model(tmp_path / "baseline", whole=whole)],
    }
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(tmp_path / "evaluation")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "answers" / contract.INPUT_GATE_FILE).write_text("{}")
    Executor().Do(given, {"evaluation": [evaluation]}, {})
    assert set(handed[0]) == set(given) - (set() if whole else {"baseline_model"})
    # Whoever called it keeps what it gave.
    assert set(given) == {"examples", "model", "baseline_model"}
    assert (tmp_path / "evaluation" / contract.INPUT_GATE_FILE).read_text() == "{}"


def _answers(folder: Path) -> standard_artifacts.Examples:
    """Answers to 31 images in two files, and what they are sliced by."""
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), json.dumps([contract.SPLIT_TEST])
    split = folder / f"Split-{contract.SPLIT_TEST}"
    split.mkdir(parents=True)
    drawn = np.random.default_rng(7)
    for part, images in enumerate((range(20), range(20, 31))):
        path = str(split / f"answers-{part:05}-of-00002.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for image in images:
                example = tf.train.Example()
                feature = example.features.feature
                feature[contract.LABEL].int64_list.value.append(image % 3)
                for name in (contract.ANSWER, contract.BASELINE_ANSWER):
                    feature[name].float_list.value.extend(drawn.dirichlet((1, 0.2, 0.5)))
                if image < 4:
                    feature[contract.SERVED_ANSWER].float_list.value.extend(
                        drawn.dirichlet([1] * 3)
                    )
                texts = {name: f"{image % 2}" for name in contract.SLICE_FEATURES}
                texts |= {contract.SHA256: f"{image:064x}", f"{contract.COLUMN_PREFIX}unit": "X"}
                for name, text in texts.items():
                    feature[name].bytes_list.value.append(text.encode())
                writer.write(example.SerializeToString())
    return examples


def _records(file: Path) -> list[bytes]:
    """Read the records of all slices; TFMA promises no order."""
    return sorted(record.numpy() for record in tf.data.TFRecordDataset(str(file)))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("against_baseline", [True, False])
def test_every_value_is_the_one_that_the_stock_evaluator_finds(
    against_baseline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In short, the parts are asked: test_metrics.py, and tests/common/test_in_process_beam.py."""
    config = eval_config(
        n_classes=3,
        min_accuracy=0.3,
        against_baseline=against_baseline,
        served_within=2.0,
        min_wilson_lower=0.1,
        slices=[SliceGateConfig(feature="unit", min_accuracy=0.1)],
        columns=["unit"],
    )
    inputs = {
        "examples": [_answers(tmp_path / "answers")],
        "model": [_model(tmp_path / "model", whole=True)],
        "baseline_model": [_model(tmp_path / "baseline", whole=True)],
    }
    if not against_baseline:
        del inputs["baseline_model"]
    properties = {
        "eval_config": json_format.MessageToJson(config),
        "example_splits": json.dumps([contract.SPLIT_TEST]),
    }
    found = {}
    for name, executor in (("stock", stock.Executor), ("ours", Executor)):
        if name == "ours":  # Not by the way that it would go if it knew no other.
            monkeypatch.delattr(SwitchingDirectRunner, "run_pipeline")
        outputs = {
            "evaluation": [standard_artifacts.ModelEvaluation()],
            "blessing": [standard_artifacts.ModelBlessing()],
        }
        for key, (artifact,) in outputs.items():
            artifact.uri = str(tmp_path / name / key)
        (tmp_path / name / "blessing").mkdir(parents=True)
        executor().Do(inputs, outputs, properties)
        found[name] = sorted((tmp_path / name).glob("*/*"))
    names = [[file.name for file in files] for files in found.values()]
    assert names[0] == names[1]
    for there, here in zip(*found.values(), strict=True):
        if there.suffix == ".tfrecord":
            assert _records(here) == _records(there), there.name
        elif there.suffix == ".json":
            assert json.loads(here.read_text()) == json.loads(there.read_text())
    (metrics,) = (file for file in found["ours"] if file.name.startswith("metrics-"))
    # The whole, two of each feature that is sliced by, and the unit.
    assert len(_records(metrics)) == 2 + 2 * len(contract.SLICE_FEATURES)
