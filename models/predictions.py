"""A model's answers to images whose class is known, one by one, as a file beside the model.

Temperature, thresholds and the champion are chosen by them, so they must not be of a model
that was fitted to the same images: either these are the validation split's, which was held
out, or each answer is out of fold (see `models.cross_validation`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from models.calibration import TINY
from schema import contract

FloatArray = np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Answers to images whose class is known.

    Attributes:
        sha256: hex digest of each image file, in the order of the rows below.
        labels: int64 [images].
        probabilities: head -> calibrated probabilities, float64 [images, n]; `contract.FLAT`
            is always there.
        multiply_adds: of the network, for one image: what the answer costs.
        folds: by how many heads, each fitted without the images that it answered; 0 where one
            model, the finished one, answered images that were held out.
        own: where there are folds, what the finished model, which was fitted to these images,
            too, says of them: good for a comparison with what is served, and no judgement.
    """

    sha256: tuple[str, ...]
    labels: np.ndarray
    probabilities: dict[str, FloatArray]
    multiply_adds: int
    folds: int = 0
    own: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def of_finished_model(self) -> dict[str, FloatArray]:
        """Head -> what the model that is served says of these images."""
        return self.own if self.folds else self.probabilities

    def only(self, rows: np.ndarray) -> Predictions:
        """Take some of the images, in the order of their numbers in `rows`, int [images]."""
        return Predictions(
            tuple(self.sha256[row] for row in rows),
            self.labels[rows],
            {name: p[rows] for name, p in self.probabilities.items()},
            self.multiply_adds,
            self.folds,
            {name: p[rows] for name, p in self.own.items()},
        )

    def losses(self) -> FloatArray:
        """Compute the cross-entropy of each image's flat answer, in nats, float64 [images]."""
        of_label = self.probabilities[contract.FLAT][np.arange(len(self.labels)), self.labels]
        losses: FloatArray = -np.log(np.maximum(of_label, TINY))
        return losses

    def to_json(self) -> dict[str, Any]:
        """Say what JSON can hold; floats survive the round trip exactly."""
        return {
            "sha256": list(self.sha256),
            "labels": self.labels.tolist(),
            "probabilities": {name: p.tolist() for name, p in self.probabilities.items()},
            "multiply_adds": self.multiply_adds,
            "folds": self.folds,
            "own": {name: p.tolist() for name, p in self.own.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Predictions:
        """Inverse of `to_json`."""
        return cls(
            sha256=tuple(values["sha256"]),
            labels=np.asarray(values["labels"], np.int64),
            probabilities={name: np.asarray(p) for name, p in values["probabilities"].items()},
            multiply_adds=int(values["multiply_adds"]),
            folds=int(values.get("folds", 0)),
            own={name: np.asarray(p) for name, p in values.get("own", {}).items()},
        )


def write_predictions(directory: str, predictions: Predictions) -> None:
    """Write the file into a folder that is there.

    Args:
        directory: of the `model_run` artifact.
        predictions: what to write.
    """
    with tf.io.gfile.GFile(os.path.join(directory, contract.PREDICTIONS_FILE), "w") as file:
        json.dump(predictions.to_json(), file, allow_nan=False)


def read_predictions(directory: str) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        tf.errors.NotFoundError: there is no such file.
    """
    with tf.io.gfile.GFile(os.path.join(directory, contract.PREDICTIONS_FILE)) as file:
        return Predictions.from_json(json.load(file))


def aligned(members: Sequence[Predictions]) -> list[Predictions]:
    """Put the same images into the same order, for models whose records came in different orders.

    A model that was judged by cross-validation has answers to more images than one that was
    judged by a held-out split: what all of them answered is left.

    Args:
        members: answers of several models.

    Returns:
        Each in the order of the hashes.

    Raises:
        ValueError: models that were judged in one way did not answer the same images, or two
            disagree about a label.
    """
    common = set(members[0].sha256).intersection(*(member.sha256 for member in members[1:]))
    of_each_kind = {(member.folds > 0, frozenset(member.sha256)) for member in members}
    if not common or len(of_each_kind) > len({crossed for crossed, _ in of_each_kind}):
        raise ValueError("the models' validation predictions are not of the same images")
    wanted = sorted(common)
    same = []
    for member in members:
        row_of = {sha256: row for row, sha256 in enumerate(member.sha256)}
        same.append(member.only(np.array([row_of[sha256] for sha256 in wanted])))
    if any((member.labels != same[0].labels).any() for member in same[1:]):
        raise ValueError("the models' validation predictions disagree about a label")
    return same
