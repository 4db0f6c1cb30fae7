"""A model's answers on the validation split, image by image, as a file beside the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

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
    """

    sha256: tuple[str, ...]
    labels: np.ndarray
    probabilities: dict[str, FloatArray]
    multiply_adds: int

    def to_json(self) -> dict[str, Any]:
        """Say what JSON can hold; floats survive the round trip exactly."""
        return {
            "sha256": list(self.sha256),
            "labels": self.labels.tolist(),
            "probabilities": {name: p.tolist() for name, p in self.probabilities.items()},
            "multiply_adds": self.multiply_adds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Predictions:
        """Inverse of `to_json`."""
        return cls(
            sha256=tuple(values["sha256"]),
            labels=np.asarray(values["labels"], np.int64),
            probabilities={name: np.asarray(p) for name, p in values["probabilities"].items()},
            multiply_adds=int(values["multiply_adds"]),
        )


def write_predictions(directory: str, predictions: Predictions) -> None:
    """Writes the file into a folder that is there.

    Args:
        directory: of the `model_run` artifact.
        predictions: what to write.
    """
    with tf.io.gfile.GFile(os.path.join(directory, contract.PREDICTIONS_FILE), "w") as file:
        json.dump(predictions.to_json(), file, allow_nan=False)


def read_predictions(directory: str) -> Predictions:
    """Reads what `write_predictions` wrote.

    Raises:
        tf.errors.NotFoundError: there is no such file.
    """
    with tf.io.gfile.GFile(os.path.join(directory, contract.PREDICTIONS_FILE)) as file:
        return Predictions.from_json(json.load(file))


def aligned(members: Sequence[Predictions]) -> list[Predictions]:
    """The same images in the same order, for models whose records came in different orders.

    Args:
        members: answers of several models.

    Returns:
        Each in the order of the hashes.

    Raises:
        ValueError: the models didn't answer the same images, or disagree about a label.
    """
    sorted_members = []
    for member in members:
        order = np.argsort(np.asarray(member.sha256), kind="stable")
        sorted_members.append(
            Predictions(
                tuple(member.sha256[i] for i in order),
                member.labels[order],
                {name: p[order] for name, p in member.probabilities.items()},
                member.multiply_adds,
            )
        )
    first = sorted_members[0]
    for member in sorted_members[1:]:
        if member.sha256 != first.sha256 or (member.labels != first.labels).any():
            raise ValueError("the models' validation predictions are not of the same images")
    return sorted_members
