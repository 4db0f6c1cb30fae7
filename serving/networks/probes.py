"""Images to compare engines on, what was answered to them, and how far apart answers are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from models.engines import EngineName, Features
from schema import contract
from serving.networks.running import RunsTrunk, Trunks

_SMOOTH_PROBES: Final = 4
_COARSE_PROBES: Final = 12
# Below it, a probability is 0.
_TINY: Final = 1e-7


def log_odds_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Compute how far apart two engines' answers are.

    Args:
        found: probabilities [images, n].
        expected: the other engine's.

    Returns:
        Of each image, the largest difference of log(p_i / p_j); the mean over the images.
    """

    def log_odds(probabilities: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
        return logs[:, :, np.newaxis] - logs[:, np.newaxis, :]

    differences = np.abs(log_odds(found) - log_odds(expected)).max(axis=(1, 2))
    return float(differences.mean())


class Answers:
    """The answers to the probes, so that the next version needn't ask again.

    Attributes:
        tensorflow: network's key -> TensorFlow's answers.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.tensorflow: dict[str, Features] = {}
        # (Trunk's key, engine, image's digest) -> its vectors.
        self.vectors: dict[tuple[str, EngineName, bytes], dict[str, np.ndarray]] = {}


class ProbedTrunks:
    """Trunks that are asked about an image once, whatever stands on them."""

    def __init__(self, trunks: Trunks, answers: Answers) -> None:
        """Join them.

        Args:
            trunks: those in memory.
            answers: found before; new ones are put in.
        """
        self._trunks, self._answers = trunks, answers

    def get(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> RunsTrunk:
        """Return a trunk, as `Trunks.get` does."""
        return _ProbedTrunk(key, self._trunks.get(key, outputs, read), self._answers)


class _ProbedTrunk:
    def __init__(self, key: str, trunk: RunsTrunk, answers: Answers) -> None:
        self._key, self._trunk, self._known = key, trunk, answers.vectors

    def __call__(self, images: np.ndarray, name: EngineName) -> Features:
        keys = [(self._key, name, hashlib.sha256(image.tobytes()).digest()) for image in images]
        unknown = [row for row, key in enumerate(keys) if key not in self._known]
        if unknown:
            found = self._trunk(images[unknown], name)
            for place, row in enumerate(unknown):
                self._known[keys[row]] = {output: found[output][place] for output in found}
        rows = [self._known[key] for key in keys]
        return {output: np.stack([row[output] for row in rows]) for output in rows[0]}

    def compile(self, name: EngineName) -> None:
        self._trunk.compile(name)


def probe_pixels() -> np.ndarray:
    """Make images to compare engines on: smooth and coarse fields, no radiographs.

    Returns:
        uint8 [16, 256, 256, 1], always the same.
    """
    return np.stack([*_smooth_fields(), *_coarse_fields()])[..., np.newaxis].astype(np.uint8)


def _smooth_fields() -> Iterator[np.ndarray]:
    """Draw two dark lobes, crossed by bars, on grounds of different brightness."""
    side = np.linspace(-1.0, 1.0, contract.IMAGE_SIZE)
    columns, rows = np.meshgrid(side, side)
    for index in range(_SMOOTH_PROBES):
        lungs = np.exp(-8 * ((np.abs(columns) - 0.4) ** 2 + rows**2 / (1 + index)))
        ribs = 0.1 * np.sin(20 * rows + index)
        yield 255 * np.clip(0.35 + 0.1 * index + ribs - 0.4 * lungs, 0, 1)


def _coarse_fields() -> Iterator[np.ndarray]:
    """Draw random grey levels on grids of 2 to 128 cells a side."""
    rng = np.random.default_rng(0)
    for index in range(_COARSE_PROBES):
        cells = 2 ** (1 + index % 7)
        levels = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        size = (contract.IMAGE_SIZE, contract.IMAGE_SIZE)
        yield np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR))
