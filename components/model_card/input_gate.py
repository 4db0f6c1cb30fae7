"""The input gate's figures on the card, from what Inferrer counted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

from components.model_card.share import Share
from schema import contract

# Of a kind that counts as caught.
LEAST_CAUGHT: Final = 0.95


@dataclass(frozen=True)
class Kind:
    """Images that are none of the task's, and how many of them the gate keeps out."""

    name: str
    caught: Share


@dataclass(frozen=True)
class InputGate:
    """The gate on the test split, and on images that are none of the task's.

    Attributes:
        kept_out: of the test split's images.
        kinds: see there.
        missed: names of the kinds of which less than LEAST_CAUGHT is caught.
    """

    kept_out: Share
    kinds: list[Kind]
    missed: list[str]


def read_input_gate(evaluation_uri: str) -> InputGate | None:
    """Read the figures; None where the model has no gate.

    Args:
        evaluation_uri: of Evaluator's artifact.
    """
    path = os.path.join(evaluation_uri, contract.INPUT_GATE_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        content = json.load(file)
    test = content["test"]
    kinds = [
        Kind(name, Share.of(found["caught"], found["images"]))
        for name, found in content["kinds"].items()
    ]
    missed = [kind.name for kind in kinds if (kind.caught.value or 0.0) < LEAST_CAUGHT]
    return InputGate(Share.of(test["kept_out"], test["images"]), kinds, missed)
