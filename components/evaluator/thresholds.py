"""TFMA's confusion matrices at ten thousand thresholds, counted by NumPy.

AUC takes them for each class, slice and model. TFMA goes through the thresholds in Python: a fifth
of an Evaluator's CPU seconds where there are some hundred answers, though most thresholds lie
between no two of them. Here only those with an answer behind them are gone through. The sums are
made in TFMA's order, so that they are the same to the last bit
(tests/components/evaluator/test_thresholds.py).
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
from tensorflow_model_analysis.metrics import binary_confusion_matrices, calibration_histogram
from tensorflow_model_analysis.metrics.binary_confusion_matrices import Matrices
from tensorflow_model_analysis.metrics.calibration_histogram import Bucket

from components.evaluator.swapping import swapped

# The versions whose two functions were compared, and are the same; another's are left as they are.
COMPARED: Final = ("0.47.1", "0.52.0")
# Of fewer thresholds TFMA's own way is as quick.
_MANY: Final = 100
# As TFMA has it: thresholds above 1 are so by this much.
_EPSILON: Final = 1e-7

_rebin = calibration_histogram.rebin
_matrices = binary_confusion_matrices._histogram_to_binary_confusion_matrices


@contextlib.contextmanager
def quick_thresholds() -> Iterator[None]:
    """Have TFMA count so inside the block, where it is a version that was compared."""
    matrices = "_histogram_to_binary_confusion_matrices"
    with swapped(
        COMPARED,
        (calibration_histogram, "rebin", rebin),
        (binary_confusion_matrices, matrices, confusion_matrices),
    ):
        yield


class SparseHistogram(Sequence[Bucket]):
    """A histogram whose empty buckets are made when somebody asks for them."""

    def __init__(self, size: int, filled: Sequence[Bucket]) -> None:
        """Take how many buckets there are, and those that may not be empty."""
        self._size = size
        self.filled = {bucket.bucket_id: bucket for bucket in filled}

    def __len__(self) -> int:
        """Count the buckets, empty ones, too."""
        return self._size

    def __getitem__(self, index: Any) -> Any:
        """Return a bucket, or the list of a slice's."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._size))]
        place = range(self._size)[index]
        return self.filled.get(place) or Bucket(place, 0.0, 0.0, 0.0)


def rebin(
    thresholds: list[float],
    histogram: Sequence[Bucket],
    num_buckets: int = calibration_histogram.DEFAULT_NUM_BUCKETS,
    left: float = 0.0,
    right: float = 1.0,
) -> Sequence[Bucket]:
    """Put a histogram's buckets between other thresholds, as TFMA's function of the name.

    Args:
        thresholds: in order; a bucket of what is returned begins at each.
        histogram: buckets in order, of equal width but for those beyond `left` and `right`.
        num_buckets: between `left` and `right`.
        left: where the first of them begins.
        right: where the last of them ends.
    """
    if len(thresholds) < _MANY:
        found: Sequence[Bucket] = _rebin(thresholds, histogram, num_buckets, left, right)
        return found

    def begin(bucket: Bucket) -> float:
        if bucket.bucket_id == 0:
            return -math.inf
        if bucket.bucket_id >= num_buckets + 1:
            return math.inf
        return float((bucket.bucket_id - 1) / num_buckets * (right - left) + left)

    places = (bisect_right(thresholds, begin(bucket)) - 1 for bucket in histogram)
    taken = sorted({0, *accumulate(places, max, initial=0)})
    filled = _rebin([thresholds[i] for i in taken], histogram, num_buckets, left, right)
    for place, bucket in zip(taken, filled, strict=True):
        bucket.bucket_id = place
    return SparseHistogram(len(thresholds), filled)


def confusion_matrices(thresholds: list[float], histogram: Sequence[Bucket]) -> Matrices:
    """Count what lies on either side of each threshold, as TFMA's function does.

    Args:
        thresholds: in order.
        histogram: a bucket for each, and one before them where the first is no less than 0.
    """
    if not isinstance(histogram, SparseHistogram):
        return _matrices(thresholds, histogram)
    positive, negative = np.zeros(len(histogram)), np.zeros(len(histogram))
    for place, bucket in histogram.filled.items():
        positive[place] = bucket.weighted_labels
        negative[place] = bucket.weighted_examples - bucket.weighted_labels
    first = 1 if thresholds[0] >= 0 and len(histogram) > 1 else 0
    kept = slice(first, first + len(thresholds))
    tp, fp = (_from_the_end(counts)[kept] for counts in (positive, negative))
    fn, tn = (_before(counts)[kept] for counts in (positive, negative))
    beyond = np.asarray(thresholds) >= 1.0 + _EPSILON
    tp[beyond] = fp[beyond] = 0.0
    fn[beyond], tn[beyond] = tp[0], fp[0]
    return Matrices(thresholds, tp.tolist(), tn.tolist(), fp.tolist(), fn.tolist())


def _from_the_end(counts: np.ndarray) -> np.ndarray:
    """Sum [buckets] from each bucket to the last, the last first."""
    return np.cumsum(counts[::-1])[::-1]


def _before(counts: np.ndarray) -> np.ndarray:
    """Sum [buckets] up to each bucket, without it."""
    return np.cumsum(np.concatenate([[0.0], counts[:-1]]))
