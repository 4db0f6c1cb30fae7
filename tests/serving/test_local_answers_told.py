"""What answers in this process tells an observer what a server would tell: the log reads it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.watch.log_rows import read_rows
from serving.local_client import open_model
from serving.prediction import Prediction
from serving.prediction_log.log import PredictionLog
from serving.prediction_log.settings import LogSettings, log_target
from tests.models.test_input_gate_models import EXPECTED, Made, _files, asked, made

__all__ = ["asked", "made"]  # Fixtures.


@pytest.fixture
def version(made: Mapping[str, Made], tmp_path: Path) -> Path:
    """A pushed model with an input gate."""
    shutil.copytree(made["cross"].folder, tmp_path / "lungs" / "7")
    return tmp_path / "lungs" / "7"


def test_the_log_has_each_answer_by_the_files_digest(
    version: Path, asked: np.ndarray, tmp_path: Path
) -> None:
    files = [tmp_path / f"{index}.png" for index in range(len(EXPECTED))]
    for file, content in zip(files, _files(asked), strict=False):
        file.write_bytes(content)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    target = log_target(tmp_path / "log", 1.0)
    log = PredictionLog(LogSettings(target))
    answers = open_model(version, observe=log, logged=target)([*files, broken])
    log.close()
    told = [answer for answer in answers if isinstance(answer, Prediction)]
    assert len(told) == len(files)
    rows = read_rows(tmp_path / "log").rows
    assert [row.digest for row in rows] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    ]
    assert {(row.model, row.version) for row in rows} == {("lungs", 7)}
    assert [row.domain_reason for row in rows] == [answer.domain_reason for answer in told]
    assert [row.predicted for row in rows] == [answer.predicted_class for answer in told]


def test_without_an_observer_nothing_is_told(version: Path, asked: np.ndarray) -> None:
    file = version.parent / "a.png"
    file.write_bytes(_files(asked)[0])
    (answer,) = open_model(version)([file])
    assert isinstance(answer, Prediction)
