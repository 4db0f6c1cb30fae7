"""A fast engine where it is sure, a more exact one where the fast one's error could be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

import numpy as np

from models.engines import PROBABILITY_TOLERANCE, TENSORFLOW
from schema import contract
from serving.networks.running import Network

# How far a probability may be from TensorFlow's.
ALLOWED: Final = PROBABILITY_TOLERANCE[TENSORFLOW]
# Real images may be harder than the probes. Measured on 288 radiographs and three models, the
# largest error of the log-odds was 0.9 to 1.05 times that of the probes.
_MARGIN: Final = 1.5
# Where a model is sure of every probe, they tell nothing of the images that it is unsure of.
_AT_LEAST: Final = 0.1
# Beyond these odds nothing can be seen, and float32's own rounding would count.
_SURE: Final = 1e-4
# An image that is farther from the training's by the fast engine is asked again: few are, and what
# rounding adds to a distance is small or, in int8, makes it larger.
_NEARLY_FAR: Final = 0.9
_FAST_ALONE: Final = ContextVar("_FAST_ALONE", default=False)


@contextlib.contextmanager
def fast_alone() -> Iterator[None]:
    """Take the fast engine's word in this thread, for answers that nobody reads.

    Else the warm-up's images, of which no model is sure, would have the exact engine compiled
    before a version is served, whether or not such an image ever comes.
    """
    before = _FAST_ALONE.set(True)
    try:
        yield
    finally:
        _FAST_ALONE.reset(before)


def largest_logit_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Compute how far log(p / (1 - p)) is off, at most.

    Args:
        found: probabilities [images, n].
        expected: another engine's.
    """

    def logits(probabilities: np.ndarray) -> np.ndarray:
        clipped = np.clip(probabilities.astype(np.float64), _SURE, 1 - _SURE)
        logits: np.ndarray = np.log(clipped) - np.log1p(-clipped)
        return logits

    return float(np.abs(logits(found) - logits(expected)).max())


class CarefulEngine:
    """An engine in bfloat16 or int8; images that it is unsure of run again in a more exact one.

    A probability p moves by p (1 - p) of what its log-odds move by (the logistic function's
    derivative). So the fast engine's error can be seen only where p (1 - p) is large, and with a
    model that is any good these are few.

    Attributes:
        name: of the fast engine.
    """

    def __init__(self, fast: Network, exact: Network, logit_difference: float) -> None:
        """Join two engines of the same network.

        Args:
            fast: bfloat16, or int8.
            exact: float32; behind int8 also a careful engine, with bfloat16 in front.
            logit_difference: the largest that was seen between the fast one and float32.
        """
        self.name = fast.name
        self._fast, self._exact = fast, exact
        self._spread = ALLOWED / max(_MARGIN * logit_difference, _AT_LEAST)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run images.

        Args:
            images: grey levels, uint8 [batch, 256, 256, 1].

        Returns:
            Probabilities, float32 [batch, n], as `contract.FLAT`; where the network has one, its
            `contract.DISTANCE`, float32 [batch, 1].
        """
        found = self._fast(images)
        wanted = [name for name in (contract.FLAT, contract.DISTANCE) if name in found]
        answers: dict[str, np.ndarray] = {name: found[name] for name in wanted}
        unsure = self.is_unsure(answers[contract.FLAT], answers.get(contract.DISTANCE))
        if unsure.any() and not _FAST_ALONE.get():
            exact = self._exact(images[unsure])
            for name in wanted:
                answers[name] = answers[name].copy()
                answers[name][unsure] = exact[name]
        return answers

    def is_unsure(
        self, probabilities: np.ndarray, distances: np.ndarray | None = None
    ) -> np.ndarray:
        """Say which images are asked again.

        Args:
            probabilities: of the fast engine, [images, n].
            distances: likewise, [images, 1], where the network has an input gate.

        Returns:
            bool [images].
        """
        unsure: np.ndarray = (probabilities * (1 - probabilities)).max(axis=-1) > self._spread
        return unsure if distances is None else unsure | (distances[:, 0] > _NEARLY_FAR)

    def compile(self) -> None:
        """Compile the fast engine; the other is, once there is an image for it."""
        self._fast.compile()
