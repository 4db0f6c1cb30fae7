"""An answer, and the model that gave it."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from serving.dicom_results.identity import Algorithm
from serving.prediction import Prediction


@pytest.fixture
def algorithm() -> Algorithm:
    pushed = datetime.datetime(2026, 11, 29, 4, 30, tzinfo=datetime.timezone.utc)
    return Algorithm("champion", "1795926600", "ab" * 32, pushed)


@pytest.fixture
def answer() -> Prediction:
    probabilities = {"COVID-19": 0.71234567, "NORMAL": 0.2, "Viral Pneumonia": 0.08765433}
    heat = np.linspace(0, 1, 256 * 256, dtype=np.float32).reshape(256, 256)
    return Prediction(Path("image.dcm"), "COVID-19", probabilities, heat_map=heat)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
