"""What becomes of a baseline without a model in it, and of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx
from tfx.components.evaluator import executor as stock
from tfx.types import channel, standard_artifacts
from tfx.utils import path_utils

from components.evaluator.component import Evaluator
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
        "model": [_model(tmp_path / "model", whole=True)],
        "baseline_model": [_model(tmp_path / "baseline", whole=whole)],
    }
    Executor().Do(given, {}, {})
    assert set(handed[0]) == ({"model", "baseline_model"} if whole else {"model"})
    # Whoever called it keeps what it gave.
    assert set(given) == {"model", "baseline_model"}


def test_its_configuration_is_tfxs_in_fewer_bytes() -> None:
    config = eval_config(n_classes=3, min_accuracy=0.9, against_baseline=True, served_within=0.02)
    given = {
        "examples": channel.Channel(type=standard_artifacts.Examples),
        "model": channel.Channel(type=standard_artifacts.Model),
        "eval_config": config,
    }
    ours, theirs = Evaluator(**given), tfx.components.Evaluator(**given)
    texts = [node.exec_properties["eval_config"] for node in (ours, theirs)]
    short, long = (json_format.Parse(text, config_pb2.EvalConfig()) for text in texts)
    assert short == long == config
    assert len(texts[0]) < 0.7 * len(texts[1])
