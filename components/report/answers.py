"""The answers of a model on the test split, as Evaluator kept them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluator.results import candidate_result, metrics_of
from schema.contract import ANSWERED_IMAGES, ANSWERS


@dataclass(frozen=True)
class TestAnswers:
    """A model's answers to the images of the test split.

    Attributes:
        sha256: hex digest of each image file, in the alphabet's order.
        labels: int64 [images].
        probabilities: float64 [images, classes], each of them exactly a float32.
    """

    __test__ = False  # what pytest would take its name for

    sha256: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, int64 [images]; the first of equals, as in the gate."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def right(self) -> np.ndarray:
        """True where the answer is the label, bool [images]."""
        return np.asarray(self.predicted == self.labels)


def read_answers(evaluation_uri: str) -> TestAnswers:
    """Read the candidate's answers.

    Args:
        evaluation_uri: of Evaluator's `evaluation`.

    Raises:
        KeyError: an evaluation from before answers were kept.
    """
    metrics = metrics_of(candidate_result(evaluation_uri))
    if ANSWERS not in metrics:
        raise KeyError(
            f"{evaluation_uri} holds no answers: an earlier version of this project made it; "
            "run the pipeline again"
        )
    digests = metrics[ANSWERED_IMAGES]["arrayValue"]["bytesValues"]
    rows = _array(metrics[ANSWERS]["arrayValue"])
    return TestAnswers(
        sha256=tuple(base64.b64decode(digest).decode("ascii") for digest in digests),
        labels=rows[:, 0].astype(np.int64),
        probabilities=rows[:, 1:],
    )


def _array(value: dict[str, Any]) -> np.ndarray:
    return np.reshape(value["float64Values"], value["shape"])
