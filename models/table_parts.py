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
    shares = _shares(head, temperature, taps, classes)
    return {
        contract.OUTPUT_PART_NAMES: tf.tile([names_of(head)], [tf.shape(shares)[0], 1]),
        contract.OUTPUT_PART_LOG_ODDS: shares,
    }


def names_of(head: keras.Model) -> list[str]:
    """List the parts in the order of `added`: the image, each column, and the rest.

    Args:
        head: of `models.joint`.
    """
    names = list(head.input)
    columns = [name.removeprefix(_TABLE) for name in names if name.startswith(_TABLE)]
    image = [contract.PART_IMAGE] if len(columns) < len(names) else []
    return [*image, *columns, contract.PART_REST]


def of_every_class(
    head: keras.Model, temperature: float, taps: Mapping[str, tf.Tensor], n_classes: int
) -> tf.Tensor:
    """Say what each part added to the log-odds of each class, float32 [batch, n, parts].

    Args:
        head: as `added` takes it, like the rest.
        temperature: likewise.
        taps: likewise.
        n_classes: of the head.
    """
    size = tf.shape(next(iter(taps.values())))[0]
    of_classes = [
        _shares(head, temperature, taps, tf.fill([size], label)) for label in range(n_classes)
    ]
    return tf.stack(of_classes, axis=1)


def _shares(
    head: keras.Model, temperature: float, taps: Mapping[str, tf.Tensor], classes: tf.Tensor
) -> tf.Tensor:
    by_tap, rest = log_odds_by_tap(head, taps, classes)
    of_image = [value for name, value in by_tap.items() if not name.startswith(_TABLE)]
    values = [tf.add_n(of_image)] if of_image else []
    values += [value for name, value in by_tap.items() if name.startswith(_TABLE)]
    return tf.stack([*values, rest], axis=1) / temperature
