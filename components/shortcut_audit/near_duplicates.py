"""Images that show the same: re-encoded, brightened, a little cropped, resized.

A perceptual hash proposes pairs. Those in which ribs and vessels about fall into place once one
image is shifted and scaled are laid on each other exactly, and judged by how well they then
agree. The hash alone won't do: of 215,496 pairs of the 657 reference radiographs, 5,561 are
within its threshold.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from common.progress import Progress

HASH_BITS: Final = 64
# Of 64 bits. With up to 5 % cut off at each side, 98 % of the reference radiographs stay within.
MAX_BITS: Final = 16
# Correlation of textures, before one is laid on the other exactly. What was cropped by up to 5 %
# a side, and no side as the other, still reaches it.
_MIN_ROUGH: Final = 0.65
# From here on it fits already: exact copies, which may be many, cost a tenth of the others.
_FITS: Final = 0.98
# Candidates of an image that are compared, in other splits and in its own: the work grows
# with the number of images, however many are alike.
_MOST_CANDIDATES: Final = 64
_MARGIN: Final = 8  # of 64 pixels: cut off, since a crop of the other image may lack it
_SHIFT: Final = 5  # pixels, in each direction
_SCALES: Final = (0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12)
# Root mean square of a texture of unit variance, below which there is nothing to compare.
_FEATURELESS: Final = 0.1
_PRECISION: Final = 0.02  # pixels
_STEPS: Final = 200  # at most; 80 are usual
# Images whose cuts at all scales are kept while others are compared with them: 64 KiB each.
_BLOCK: Final = 1_024
_CELLS: Final = 1 << 24  # of the matrix of distances, at a time: 64 MiB


@dataclass(frozen=True)
class Pair:
    """Two images that show the same.

    Attributes:
        first: index of the one.
        second: index of the other, the higher one.
        bits: of 64, in which their hashes differ.
        correlation: of their textures, -1..1 (`correlations`).
    """

    first: int
    second: int
    bits: int
    correlation: float


def find_pairs(
    thumbnails: NDArray[np.float32],
    textures: Sequence[NDArray[np.float16]],
    splits: Sequence[str],
    min_correlation: float,
) -> list[Pair]:
    """Find the pairs of near-duplicates, by index.

    An image is compared with the 64 of its own split and the 64 of other splits whose hashes
    are closest.

    Args:
        thumbnails: float32 [n, 32, 32], grey levels.
        textures: n times float16 [64, 64] (`radiographs.texture`).
        splits: of each image.
        min_correlation: of the textures of two near-duplicates.
    """
    codes = np.unique(np.asarray(splits, str), return_inverse=True)[1]
    candidates = _candidates(perceptual_hash(thumbnails), codes)
    progress = Progress("pairs of images", len(candidates))
    pairs: list[Pair] = []
    # BLAS has threads of its own; both together take twice as long as either.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for block in _blocks(candidates):
            firsts = np.unique(block[:, 0]).tolist()
            cuts = dict(zip(firsts, pool.map(_cuts, [textures[i] for i in firsts]), strict=True))
            by_second = itertools.groupby(block.tolist(), key=lambda row: int(row[1]))
            tasks = [
                (textures, cuts, second, list(rows), min_correlation) for second, rows in by_second
            ]
            for task, found in zip(tasks, pool.map(_compare, tasks), strict=True):
                pairs += found
                progress.advance(len(task[3]))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _blocks(candidates: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the candidates whose first images are in one block, block after block."""
    blocks = candidates[:, 0] // _BLOCK
    for block in np.unique(blocks):
        yield candidates[blocks == block]


def _compare(
    task: tuple[
        Sequence[NDArray[np.float16]],
        Mapping[int, NDArray[np.float32]],
        int,
        Sequence[Sequence[int]],
        float,
    ],
) -> list[Pair]:
    """Compare one image with those whose cuts are there."""
    textures, cuts, second, rows, least = task
    firsts = [first for first, _, _ in rows]
    found = _best(textures[second], [textures[i] for i in firsts], [cuts[i] for i in firsts])
    return [
        Pair(first, second, bits, float(correlation))
        for (first, _, bits), correlation in zip(rows, found, strict=True)
        if correlation >= least
    ]


def perceptual_hash(thumbnails: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find which low frequencies are above their median (pHash; Zauner 2010, section 3.2.1).

    Args:
        thumbnails: float32 [n, 32, 32]; brightness and contrast play no part.

    Returns:
        bool [n, 64], frequencies 1..8 in both directions of the DCT-II.
    """
    low = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, 1:9, 1:9].reshape(-1, HASH_BITS)
    above: NDArray[np.bool_] = low > np.median(low, axis=1, keepdims=True)
    return above


def _candidates(hashes: NDArray[np.bool_], splits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find pairs (first, second, bits) within `MAX_BITS`, sorted by second and first."""
    # Two vectors of ±1 agree in (64 + product) / 2 places: BLAS counts bits, 10⁹ pairs a few s.
    signs = np.where(hashes, 1, -1).astype(np.float32)
    step = max(1, _CELLS // max(1, len(signs)))
    parts = [np.empty((0, 3), np.int64)]
    for start in range(0, len(signs), step):
        bits = (HASH_BITS - signs[start : start + step] @ signs.T) / 2
        rows, others = np.nonzero(bits <= MAX_BITS)
        near, rows = bits[rows, others].astype(np.int64), rows + start
        parts.append(_closest(rows, others, near, splits[rows] == splits[others]))
    return np.unique(np.concatenate(parts), axis=0)[:, [1, 0, 2]]


def _closest(
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    bits: NDArray[np.int64],
    same_split: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Find the closest of each image, in its split and outside: (higher, lower, bits)."""
    apart = rows != others
    found = np.stack([rows * 2 + same_split, bits, others], axis=1)[apart]
    found = found[np.lexsort(found.T[::-1])]
    # How many of the same image stand before it.
    rank = np.arange(len(found)) - np.searchsorted(found[:, 0], found[:, 0])
    found = found[rank < _MOST_CANDIDATES]
    row, other = found[:, 0] // 2, found[:, 2]
    return np.stack([np.maximum(row, other), np.minimum(row, other), found[:, 1]], axis=1)


def correlations(
    image: NDArray[np.float16], others: Sequence[NDArray[np.float16]]
) -> NDArray[np.float64]:
    """Compute how well other textures agree with one where they fit best.

    Pearson's correlation. All scales of 0.88..1.12 and shifts of up to 5 of 64 pixels in each
    direction are tried; where that comes to 0.65 and not yet to 0.98, the rectangle of the other
    that fits best is found from there (Nelder and Mead 1965). Without rotation.

    Args:
        image: float16 [64, 64].
        others: m of the same.

    Returns:
        float64 [m], -1..1; 0 where a texture is empty.
    """
    return _best(image, others, [_cuts(other) for other in others]) if others else np.empty(0)


def _cuts(texture: NDArray[np.float16]) -> NDArray[np.float32]:
    """Cut the middle out at each scale, standardised: float32 [scales, pixels]."""
    side = texture.shape[0] - 2 * _MARGIN
    picture = Image.fromarray(texture.astype(np.float32))
    boxes = [_centred(texture.shape[0], side * scale) for scale in _SCALES]
    return _standardised(np.stack([_cut(picture, box, side) for box in boxes]))


def _best(
    image: NDArray[np.float16],
    others: Sequence[NDArray[np.float16]],
    cuts: Sequence[NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Compute `correlations` from the others' cuts."""
    side = image.shape[0] - 2 * _MARGIN
    reach = slice(_MARGIN - _SHIFT, _SHIFT - _MARGIN)
    windows = sliding_window_view(image[reach, reach].astype(np.float32), (side, side))
    places = _standardised(windows.reshape(-1, side * side))
    # One product for all: BLAS is slow with few rows.
    all_fits = (np.concatenate(cuts) @ places.T).reshape(len(others), len(_SCALES), len(places))
    best = np.empty(len(others))
    for index, (other, fits) in enumerate(zip(others, all_fits, strict=True)):
        scale, place = np.unravel_index(fits.argmax(), fits.shape)
        best[index] = fits[scale, place]
        if _MIN_ROUGH <= best[index] < _FITS:
            picture = Image.fromarray(other.astype(np.float32))
            start = _centred(other.shape[0], side * _SCALES[scale])
            best[index] = _fitted(picture, start, places[place], side)
    return best


def _centred(whole: int, side: float) -> NDArray[np.float64]:
    edge = (whole - side) / 2
    return np.array([edge, edge, whole - edge, whole - edge])


def _cut(picture: Image.Image, box: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    left, top, right, bottom = box
    cut = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, right, bottom))
    return np.asarray(cut, np.float32).ravel()


def _fitted(
    picture: Image.Image, start: NDArray[np.float64], place: NDArray[np.float32], side: int
) -> float:
    """Find the correlation in the rectangle that fits best, from `start` on."""

    def misfit(box: NDArray[np.float64]) -> float:
        if box.min() < 0 or box.max() > min(picture.size):
            return 1.0
        return -float(_standardised(_cut(picture, box, side)[None])[0] @ place)

    # A pixel and a half: as far as the rough search's nearest scale can be off at an edge.
    simplex = np.vstack([start, start + 1.5 * np.eye(4)])
    options = {"initial_simplex": simplex, "xatol": _PRECISION, "fatol": 1e-3, "maxiter": _STEPS}
    return -float(minimize(misfit, start, method="Nelder-Mead", options=options).fun)


def _standardised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to mean 0 and length 1, so that a product is a correlation; 0 where empty."""
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    empty = length < _FEATURELESS * np.sqrt(rows.shape[1])
    scaled: NDArray[np.float32] = np.where(empty, 0, centred / np.where(empty, 1, length))
    return scaled
