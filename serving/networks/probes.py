"""Images to compare engines on, what was answered to them, and how far apart answers are."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from models.engines import EngineName, Features
from schema import contract
from serving.networks.folders import KEY
from serving.networks.running import FindsTrunks, Head, RunsTrunk

_SMOOTH_PROBES: Final = 4
_COARSE_PROBES: Final = 12
# Those that TensorFlow is asked about: a network that was converted wrongly is wrong about any
# image. How far an engine in another precision is off is told by all of them.
CONFIRMED: Final = (1, 6, 10, 14)
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


def vector_name(trunk: str, output: str) -> str:
    """Name a trunk's output for what it is, in whatever trunk.

    Args:
        trunk: its key.
        output: named by its digest, unless the trunk is a whole network.
    """
    return output if KEY.fullmatch(output) else f"{trunk} {output}"


class KeepsVectors(Protocol):
    """A place for what trunks make of the probes; `store.Store` says how."""

    def vectors(self, name: str, engine: EngineName, *, anywhere: bool) -> np.ndarray | None:
        """Read what is known."""

    def write_vectors(
        self, name: str, engine: EngineName, vectors: np.ndarray, *, anywhere: bool
    ) -> None:
        """Keep it."""


class Answers:
    """The answers to the probes, so that the next version needn't ask again."""

    def __init__(self) -> None:
        """Begin without any."""
        # (Output, engine, image's digest) -> its vector.
        self.vectors: dict[tuple[str, EngineName, bytes], np.ndarray] = {}
        self._probes = [_digest(image) for image in probe_pixels()]

    def take(
        self,
        kept: KeepsVectors,
        trunk: str,
        outputs: Sequence[str],
        name: EngineName,
        *,
        anywhere: bool,
    ) -> bool:
        """Read what was kept of a trunk, where it isn't known.

        Returns:
            Whether all of it is known.
        """
        for output in (vector_name(trunk, each) for each in outputs):
            if self._known(output, name) is None:
                found = kept.vectors(output, name, anywhere=anywhere)
                if found is None or len(found) != len(self._probes):
                    return False
                for digest, vector in zip(self._probes, found, strict=True):
                    self.vectors[output, name, digest] = vector
        return True

    def keep(
        self,
        kept: KeepsVectors,
        trunk: str,
        outputs: Sequence[str],
        name: EngineName,
        *,
        anywhere: bool,
    ) -> None:
        """Keep what is known of a trunk."""
        for output in (vector_name(trunk, each) for each in outputs):
            found = self._known(output, name)
            if found is not None:
                kept.write_vectors(output, name, found, anywhere=anywhere)

    def _known(self, output: str, name: EngineName) -> np.ndarray | None:
        keys = [(output, name, digest) for digest in self._probes]
        if any(key not in self.vectors for key in keys):
            return None
        return np.stack([self.vectors[key] for key in keys])


class ProbedTrunks:
    """Trunks that are asked about an image once, whatever stands on them."""

    def __init__(self, trunks: FindsTrunks, answers: Answers) -> None:
        """Join them.

        Args:
            trunks: those in memory.
            answers: found before; new ones are put in.
        """
        self._trunks, self._answers = trunks, answers

    def get(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> RunsTrunk:
        """Return a trunk, as `Trunks.get` does."""
        return _ProbedTrunk(key, outputs, self._trunks.get(key, outputs, read), self._answers)

    def head(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> Head:
        """Return a head, as `Trunks.head` does."""
        return self._trunks.head(key, outputs, read)


class _ProbedTrunk:
    def __init__(
        self, key: str, outputs: Sequence[str], trunk: RunsTrunk, answers: Answers
    ) -> None:
        self._names = {output: vector_name(key, output) for output in outputs}
        self._trunk, self._known = trunk, answers.vectors

    def __call__(self, images: np.ndarray, name: EngineName) -> Features:
        digests = [_digest(image) for image in images]
        unknown = [
            row
            for row, digest in enumerate(digests)
            if any((known, name, digest) not in self._known for known in self._names.values())
        ]
        if unknown:
            found = self._trunk(images[unknown], name)
            for place, row in enumerate(unknown):
                for output, known in self._names.items():
                    self._known[known, name, digests[row]] = found[output][place]
        return {
            output: np.stack([self._known[known, name, digest] for digest in digests])
            for output, known in self._names.items()
        }

    def compile(self, name: EngineName) -> None:
        self._trunk.compile(name)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


@functools.cache
def probe_pixels() -> np.ndarray:
    """Make images to compare engines on: smooth and coarse fields, no radiographs.

    Returns:
        uint8 [16, 256, 256, 1], always the same; nobody can write into them.
    """
    images = np.stack([*_smooth_fields(), *_coarse_fields()])[..., np.newaxis].astype(np.uint8)
    images.flags.writeable = False
    return images


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
