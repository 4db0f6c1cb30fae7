"""The share of the image, and of each column of the table, in an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import keras
import tensorflow as tf

from models.heads import log_odds_by_tap
from schema import contract
from schema.table import TRANSFORMED_PREFIX

_TABLE: Final = TRANSFORMED_PREFIX


def added(
    head: keras.Model,
    temperature: float,
    taps: Mapping[str, tf.Tensor],
    probabilities: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Say what the image and each column added to the log-odds of the predicted class.

    Args:
        head: of `models.joint`.
        temperature: of its answers.
        taps: float32 [batch, channels] each.
        probabilities: the head's answer to them, float32 [batch, n].

    Returns:
        `contract.OUTPUT_PART_NAMES` and `contract.OUTPUT_PART_LOG_ODDS`. The sum of a row is the
        log-odds of its class (`models.explanation.class_score`).
    """
    classes = tf.argmax(probabilities, axis=-1)
    by_tap, rest = log_odds_by_tap(head, taps, classes)
    names, values = [], []
    of_image = [v for name, v in by_tap.items() if not name.startswith(_TABLE)]
    if of_image:
        names, values = [contract.PART_IMAGE], [tf.add_n(of_image)]
    for name, value in by_tap.items():
        if name.startswith(_TABLE):
            names.append(name.removeprefix(_TABLE))
            values.append(value)
    names.append(contract.PART_REST)
    values.append(rest)
    stacked = tf.stack(values, axis=1) / temperature
    return {
        contract.OUTPUT_PART_NAMES: tf.tile([names], [tf.shape(stacked)[0], 1]),
        contract.OUTPUT_PART_LOG_ODDS: stacked,
    }
