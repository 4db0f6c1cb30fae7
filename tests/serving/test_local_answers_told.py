"""What answers in this process tells an observer what a server would tell: the log reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.preprocessing import decode_and_resize
from pipeline.watch.log_rows import read_rows
from serving.local_client import latest_version, open_model
from serving.prediction import Prediction
from serving.prediction_log.log import PredictionLog
from serving.prediction_log.settings import LogSettings, log_target
from tests.golden_run import GoldenRun


@pytest.fixture(scope="module")
def version(golden: GoldenRun) -> Path:
    """A pushed model with an input gate."""
    return latest_version(golden.layout.serving, "xception")


@pytest.fixture
def files(images: Sequence[bytes], tmp_path: Path) -> list[Path]:
    """Phantoms, of which one is inverted and one is blank."""
    inverted = 255 - decode_and_resize(images[0]).numpy()
    blank = np.zeros_like(inverted)
    contents = [*images[:3], *(tf.io.encode_png(pixels).numpy() for pixels in (inverted, blank))]
    found = [tmp_path / f"{index}.png" for index in range(len(contents))]
    for file, content in zip(found, contents, strict=True):
        file.write_bytes(content)
    return found


def test_the_log_has_each_answer_by_the_files_digest(
    version: Path, files: list[Path], tmp_path: Path
) -> None:
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
    assert {(row.model, row.version) for row in rows} == {("xception", int(version.name))}
    assert [row.domain_reason for row in rows] == [answer.domain_reason for answer in told]
    assert len({row.domain_reason for row in rows}) > 1
    assert [row.predicted for row in rows] == [answer.predicted_class for answer in told]


def test_without_an_observer_nothing_is_told(version: Path, files: list[Path]) -> None:
    (answer,) = open_model(version)(files[:1])
    assert isinstance(answer, Prediction)
