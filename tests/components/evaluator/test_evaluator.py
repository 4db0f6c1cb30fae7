"""What becomes of a baseline without a model in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.components.evaluator import executor as stock
from tfx.types import standard_artifacts
from tfx.utils import path_utils

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
