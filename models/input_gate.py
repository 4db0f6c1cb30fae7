"""The input gate: is an image a chest radiograph as those of the training, upright, not inverted?

Three checks, the plainest first, and each has its own reason:

* `blank`: hardly any grey level but one, or hardly any difference between them.
* `inverted`, `turned`: a softmax layer on a thumbnail of 8 x 8 cells, each less the thumbnail's
  mean and divided by its deviation. It is fitted to the training images as they are, inverted,
  and turned by 90, 180 and 270 degrees, and needs no network.
* `unlike_training`: the distance in the pooled taps of the network. Channels are standardised by
  the training rows and divided by the root of how many a tap has; of what comes of it, the part
  within the first principal components of the training rows is taken away. The distance is
  the rest's norm.

Thresholds are those at which a given share of images that nothing was fitted to is kept out.

NumPy, SciPy and scikit-learn only; `models.input_gate_tensors` has the same for a SavedModel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.linalg import eigh
from scipy.special import softmax
from scipy.stats import norm

from models.backbones import GRID
from models.deep_images import GREY_LEVELS
from schema import contract

# Cells a side. On 657 radiographs 8 tell inverted and turned ones as well as 32 do.
CELLS: Final = 8
# Of an image: its cells, the deviation of its grey levels, the share of the most frequent one.
FACTS: Final = CELLS**2 + 2
# Of 657 radiographs the smallest deviation is 14.7, the largest share of one level 0.49; a
# single white pixel on black gives 1.0 and 1.0.
LEAST_DEVIATION: Final = 5.0
MOST_OF_ONE_LEVEL: Final = 0.9
# The poses, as the softmax layer has them: the image as it is comes first.
POSES: Final = ("as_is", "inverted", "turned_90", "turned_180", "turned_270")
_REASONS: Final = (
    contract.DOMAIN_OK,
    contract.DOMAIN_INVERTED,
    *([contract.DOMAIN_TURNED] * 3),
)
# Less sure than that of a pose "as it is" is not sure at all.
_LIKELY: Final = 0.5
# scikit-learn's C. A tenth of it leaves probabilities of upright and turned images closer together.
_INVERSE_PENALTY: Final = 0.04
_ITERATIONS: Final = 2_000
# Its part of the false alarms: spoilt radiographs are near 0, so a low threshold catches them, too.
_OF_POSE: Final = 0.5
# Below this deviation, in grey levels, a thumbnail is flat.
_FLAT: Final = 1e-3
# Principal components, and how many training rows there must be for each.
_COMPONENTS: Final = 32
_ROWS_A_COMPONENT: Final = 4
# Of more rows than these, evenly spaced ones are fitted to.
_MOST_ROWS: Final = 4_000
# A channel varies at least by this share of the tap's most varying one.
_LEAST_SCALE: Final = 1e-3
_TINY: Final = 1e-9
# Of its distance in a SavedModel (`models.input_gate_tensors`), behind the classifier's own.
GATE_VARIABLES: Final = 3

Taps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PixelGate:
    """The checks that see the image alone.

    Attributes:
        kernel: of the softmax layer, float32 [CELLS², poses].
        bias: float32 [poses].
        as_is_below: an image whose probability of being as it should is lower is kept out.
    """

    kernel: np.ndarray
    bias: np.ndarray
    as_is_below: float

    def to_json(self) -> str:
        """Write it as text; `pixel_gate_from_json` reads it."""
        return json.dumps(
            {
                "kernel": self.kernel.tolist(),
                "bias": self.bias.tolist(),
                "as_is_below": self.as_is_below,
            }
        )


def pixel_gate_from_json(text: str) -> PixelGate:
    """Read what `PixelGate.to_json` wrote.

    Raises:
        ValueError: it is no gate.
    """
    try:
        fields = json.loads(text)
        gate = PixelGate(
            np.array(fields["kernel"], np.float32),
            np.array(fields["bias"], np.float32),
            float(fields["as_is_below"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text[:200]!r} is no input gate: {error!r}") from error
    if gate.kernel.shape != (CELLS**2, len(POSES)) or gate.bias.shape != (len(POSES),):
        raise ValueError(f"{text[:200]!r} is no input gate: its layer has another shape")
    return gate


@dataclass(frozen=True)
class Look:
    """The distance from the training images in a network's pooled taps.

    Attributes:
        grids: taps that are pooled in cells; over these the mean is taken first.
        mean: tap -> float32 [channels], of the training rows.
        factor: tap -> float32 [channels], what multiplies the difference from the mean.
        components: orthonormal, float32 [all channels, components].
        farthest: the distance that counts as 1.
    """

    grids: frozenset[str]
    mean: Mapping[str, np.ndarray]
    factor: Mapping[str, np.ndarray]
    components: np.ndarray
    farthest: float = 1.0

    def distance(self, taps: Taps) -> np.ndarray:
        """Compute distances; above 1, an image is unlike the training's.

        Args:
            taps: {tap: [rows, channels]}, further ones are passed over.

        Returns:
            float64 [rows].
        """
        standard = self._standard(taps)
        inside = standard @ self.components.astype(np.float64)
        rest = standard - inside @ self.components.astype(np.float64).T
        distances: np.ndarray = np.linalg.norm(rest, axis=1) / self.farthest
        return distances

    def _standard(self, taps: Taps) -> np.ndarray:
        return np.concatenate(
            [
                (averaged(name, taps[name], self.grids) - mean) * self.factor[name]
                for name, mean in self.mean.items()
            ],
            axis=1,
        )


@dataclass(frozen=True)
class InputGate:
    """Both halves of the gate, and how it did on images that it wasn't fitted to.

    Attributes:
        pixels: see there.
        look: see there.
        facts: `false_alarms` (the share that was asked for), `images` (held out), `kept_out`
            (how many of these), in what JSON can hold.
    """

    pixels: PixelGate
    look: Look
    facts: Mapping[str, Any]


def averaged(tap: str, values: np.ndarray, grids: frozenset[str]) -> np.ndarray:
    """Take the mean of a grid's cells; other taps stay as they are. float64 [rows, channels]."""
    doubled = values.astype(np.float64)
    if tap not in grids:
        return doubled
    whole: np.ndarray = doubled.reshape(len(doubled), GRID * GRID, -1).mean(axis=1)
    return whole


def facts_of(pixels: np.ndarray) -> np.ndarray:
    """Compute what the gate has to know of images besides the network's taps.

    Args:
        pixels: uint8 [images, 256, 256, 1].

    Returns:
        float32 [images, FACTS]: means of the cells row by row, the grey levels' population
        standard deviation, and the share of the most frequent level.
    """
    grey = pixels[..., 0]
    size = contract.IMAGE_SIZE // CELLS
    cells = grey.reshape(len(grey), CELLS, size, CELLS, size).mean(axis=(2, 4))
    counts = [np.bincount(image.ravel(), minlength=GREY_LEVELS).max() for image in grey]
    share = np.array(counts, np.float64).reshape(-1, 1) / contract.IMAGE_SIZE**2
    deviation = grey.reshape(len(grey), -1).std(axis=1)[:, np.newaxis]
    flat = cells.reshape(len(grey), CELLS**2)
    return np.concatenate([flat, deviation, share], axis=1).astype(np.float32)


def posed(facts: np.ndarray) -> list[np.ndarray]:
    """Return the facts of the same images in each of POSES, each as `facts_of` would find them."""
    cells = facts[:, : CELLS**2].reshape(-1, CELLS, CELLS)
    others = [GREY_LEVELS - 1 - cells, *(np.rot90(cells, k, axes=(1, 2)) for k in (1, 2, 3))]
    rest = facts[:, CELLS**2 :]
    return [
        np.concatenate([each.reshape(len(facts), CELLS**2), rest], axis=1)
        for each in (cells, *others)
    ]


def standard_cells(facts: np.ndarray) -> np.ndarray:
    """Return the cells less their mean, divided by their deviation; float64 [images, CELLS²]."""
    cells = facts[:, : CELLS**2].astype(np.float64)
    cells = cells - cells.mean(axis=1, keepdims=True)
    found: np.ndarray = cells / (cells.std(axis=1, keepdims=True) + _FLAT)
    return found


def fit_pixels(facts: np.ndarray) -> PixelGate:
    """Fit the softmax layer to radiographs that are upright and not inverted.

    Args:
        facts: of training images, float32 [images, FACTS]; at least one.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([standard_cells(each) for each in posed(facts)])
    labels = np.repeat(np.arange(len(POSES)), len(facts))
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ITERATIONS).fit(rows, labels)
    return PixelGate(model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32), _LIKELY)


def pose_probabilities(gate: PixelGate, facts: np.ndarray) -> np.ndarray:
    """Compute how probable each of POSES is, float64 [images, poses]."""
    probabilities: np.ndarray = softmax(standard_cells(facts) @ gate.kernel + gate.bias, axis=1)
    return probabilities


def fit_look(taps: Taps, grids: frozenset[str]) -> Look:
    """Fit mean, scale and principal components to training rows.

    Args:
        taps: {tap: float [rows, channels]}; at least one row. Of very many, some will do.
        grids: taps that are pooled in cells.

    Returns:
        The look, of which no distance is known yet that is too far.
    """
    count = len(next(iter(taps.values())))
    step = math.ceil(count / _MOST_ROWS)
    means = {name: averaged(name, values[::step], grids) for name, values in taps.items()}
    mean = {name: rows.mean(axis=0) for name, rows in means.items()}
    factor = {}
    for name, rows in means.items():
        deviation = rows.std(axis=0)
        least = _LEAST_SCALE * deviation.max(initial=0.0) + _TINY
        factor[name] = 1.0 / (np.maximum(deviation, least) * math.sqrt(rows.shape[1]))
    standard = np.concatenate([(means[n] - mean[n]) * factor[n] for n in means], axis=1)
    return Look(
        grids,
        {name: each.astype(np.float32) for name, each in mean.items()},
        {name: each.astype(np.float32) for name, each in factor.items()},
        _components(standard).astype(np.float32),
    )


def _components(rows: np.ndarray) -> np.ndarray:
    """Find the first principal components of centred rows, float64 [channels, components]."""
    count = min(_COMPONENTS, len(rows) // _ROWS_A_COMPONENT, rows.shape[1] // 2)
    if not count:
        return np.zeros((rows.shape[1], 0))
    # Of the smaller of the two squares; both have the same eigenvalues.
    few = len(rows) < rows.shape[1]
    square = rows @ rows.T if few else rows.T @ rows
    last = len(square) - 1
    values, vectors = eigh(square, subset_by_index=[last - count + 1, last])
    vectors = (rows.T @ vectors if few else vectors)[:, values > _TINY]
    found: np.ndarray = np.linalg.qr(vectors)[0]
    return found


def thresholds(
    as_is: np.ndarray, distances: np.ndarray, false_alarms: float
) -> tuple[float, float]:
    """Find the thresholds at which a share of held-out radiographs is kept out, and no more.

    A pose is kept out where it is less likely right than not, unless that would be more than
    half of the share. The distance has what is left. A share that is less than an image is
    read from the logarithms' mean and deviation, as if these were normal.

    Args:
        as_is: probability of being upright and not inverted, float [images].
        distances: float [images].
        false_alarms: the share, above 0 and below 1.

    Returns:
        `PixelGate.as_is_below` and `Look.farthest`.

    Raises:
        ValueError: there is no image.
    """
    if not len(as_is) or len(as_is) != len(distances):
        raise ValueError(f"held out: {len(as_is)} images, {len(distances)} distances")
    allowed = math.floor(false_alarms * len(as_is))
    below = min(_LIKELY, float(np.sort(as_is)[math.floor(_OF_POSE * allowed)]))
    remaining = distances[as_is >= below]
    allowed -= len(as_is) - len(remaining)
    farthest = float(np.sort(remaining)[::-1][max(0, allowed)])
    if false_alarms * len(as_is) < 1:
        logs = np.log(np.maximum(remaining, _TINY))
        estimated = logs.mean() + norm.ppf(1 - false_alarms) * logs.std()
        farthest = max(farthest, float(np.exp(estimated)))
    return below, max(farthest, _TINY)


def reasons_of(gate: PixelGate, facts: np.ndarray, distances: np.ndarray) -> list[str]:
    """Say of each image why it is kept out, or `contract.DOMAIN_OK`.

    Args:
        gate: fitted.
        facts: what `facts_of` returned.
        distances: of the look, 1 at its threshold.
    """
    probabilities = pose_probabilities(gate, facts)
    found = []
    for row, distance in enumerate(distances):
        deviation, share = facts[row, CELLS**2 :]
        pose = int(probabilities[row, 1:].argmax()) + 1
        if deviation < LEAST_DEVIATION or share > MOST_OF_ONE_LEVEL:
            found.append(contract.DOMAIN_BLANK)
        elif probabilities[row, 0] < gate.as_is_below:
            found.append(_REASONS[pose])
        elif distance > 1.0:
            found.append(contract.DOMAIN_UNLIKE)
        else:
            found.append(contract.DOMAIN_OK)
    return found


def reason_of_pose() -> Sequence[str]:
    """Return the reason that goes with each of POSES."""
    return _REASONS
