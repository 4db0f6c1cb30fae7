"""The input gate in TensorFlow, for a SavedModel; `models.input_gate` says what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

from models.backbones import GRID
from models.deep_images import GREY_LEVELS
from models.input_gate import (
    CELLS,
    LEAST_DEVIATION,
    MOST_OF_ONE_LEVEL,
    InputGate,
    Look,
    PixelGate,
    reason_of_pose,
)
from schema import contract

# As in `models.input_gate`: below this deviation a thumbnail is flat.
_FLAT: Final = 1e-3


@dataclass(frozen=True)
class GateTensors:
    """An `InputGate` as a classifier has it."""

    pixels: PixelGate
    look: LookTensors

    @classmethod
    def of(cls, gate: InputGate | None) -> GateTensors | None:
        """Make the variables; None where there is no gate."""
        return None if gate is None else cls(gate.pixels, LookTensors(gate.look))


class LookTensors:
    """A `Look` whose numbers are variables, as a SavedModel keeps weights.

    A plain object, as `models.classifier.Classifier` is.

    Attributes:
        variables: all of them.
    """

    def __init__(self, look: Look) -> None:
        """Make the variables.

        Args:
            look: fitted, with its threshold.
        """
        self._taps = tuple(look.mean)
        self._grids = look.grids
        fixed = {
            "mean": [look.mean[name] for name in self._taps],
            "factor": [look.factor[name] / look.farthest for name in self._taps],
        }
        self._mean, self._factor = (
            tf.Variable(tf.concat(parts, axis=0), trainable=False, name=f"look_{name}")
            for name, parts in fixed.items()
        )
        self._components = tf.Variable(look.components, trainable=False, name="look_components")
        self.variables = [self._mean, self._factor, self._components]

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that it needs."""
        return self._taps

    def __call__(self, taps: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Turn pooled taps [batch, channels] into distances, float32 [batch, 1]."""
        together = tf.concat([self._averaged(name, taps[name]) for name in self._taps], axis=-1)
        standard = (together - self._mean) * self._factor
        inside = tf.matmul(standard, self._components)
        rest = standard - tf.matmul(inside, self._components, transpose_b=True)
        return tf.sqrt(tf.reduce_sum(tf.square(rest), axis=-1, keepdims=True))

    def _averaged(self, name: str, values: tf.Tensor) -> tf.Tensor:
        if name not in self._grids:
            return values
        channels = values.shape[-1] // GRID**2
        return tf.reduce_mean(tf.reshape(values, [-1, GRID**2, channels]), axis=1)


def screen(gate: PixelGate, pixels: tf.Tensor, distances: tf.Tensor) -> dict[str, tf.Tensor]:
    """Say which images are as those of the training, and why not.

    Args:
        gate: fitted.
        pixels: uint8 [batch, 256, 256, 1].
        distances: of the look, float32 [batch, 1].

    Returns:
        `in_domain` bool [batch]; `domain_reason` string [batch], one of
        `contract.DOMAIN_REASONS`.
    """
    cells, deviation, share = _facts(pixels)
    cells -= tf.reduce_mean(cells, axis=1, keepdims=True)
    cells /= tf.math.reduce_std(cells, axis=1, keepdims=True) + _FLAT
    poses = tf.nn.softmax(tf.matmul(cells, tf.constant(gate.kernel)) + tf.constant(gate.bias))
    of_pose = tf.gather(tf.constant(list(reason_of_pose()[1:])), tf.argmax(poses[:, 1:], axis=1))
    far = tf.squeeze(distances, axis=-1) > 1.0
    found = tf.where(far, contract.DOMAIN_UNLIKE, contract.DOMAIN_OK)
    found = tf.where(poses[:, 0] < gate.as_is_below, of_pose, found)
    is_blank = (deviation < LEAST_DEVIATION) | (share > MOST_OF_ONE_LEVEL)
    found = tf.where(is_blank, contract.DOMAIN_BLANK, found)
    return {
        contract.OUTPUT_IN_DOMAIN: tf.equal(found, contract.DOMAIN_OK),
        contract.OUTPUT_DOMAIN_REASON: found,
    }


def _facts(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compute cells float32 [batch, CELLS²], deviation and share of the commonest level [batch]."""
    grey = tf.cast(pixels, tf.float32)
    size = contract.IMAGE_SIZE // CELLS
    blocks = tf.reshape(grey, [-1, CELLS, size, CELLS, size])
    cells = tf.reshape(tf.reduce_mean(blocks, axis=[2, 4]), [-1, CELLS**2])
    deviation = tf.math.reduce_std(grey, axis=[1, 2, 3])
    levels = tf.reshape(tf.cast(pixels, tf.int32), [-1, contract.IMAGE_SIZE**2])
    counts = tf.math.bincount(levels, minlength=GREY_LEVELS, maxlength=GREY_LEVELS, axis=-1)
    share = tf.reduce_max(tf.cast(counts, tf.float32), axis=1) / contract.IMAGE_SIZE**2
    return cells, deviation, share
