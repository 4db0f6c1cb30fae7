"""The rows that a head's softmax layers read, and the space that they span.

Heads of one recipe, and the layers of each, read the same rows: what is found out about rows (their
order, their products with each other) is found once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import keras
import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf

Taps = Mapping[str, np.ndarray]

# Channels that rows are told apart by, as long as they are enough.
_FIRST: Final = 16


class Span:
    """The span of rows, by an orthonormal basis, `rows.T @ weights`, never written out.

    From the rows' products with each other, by Cholesky's factors with pivots (LAPACK's dpstrf):
    what a QR of the rows does, for a small part of its time where there are many times more
    channels. What is lost of the smallest directions by the squares is below what float64 can tell
    in a loss.
    """

    def __init__(self, rows: np.ndarray) -> None:
        """Find it.

        Args:
            rows: float64 [rows, channels].
        """
        self._rows = rows
        factors, pivots, rank, _ = dpstrf(rows @ rows.T, lower=1)
        lower = np.tril(factors)[:, :rank]
        self._own = np.empty_like(lower)
        self._own[pivots - 1] = lower
        # The rows that the basis is made of: those after them bring no direction of their own.
        self._chosen, self._factor = pivots[:rank] - 1, lower[:rank]

    @cached_property
    def _basis(self) -> np.ndarray:
        basis: np.ndarray = self._rows[self._chosen]
        return basis

    @property
    def dimensions(self) -> int:
        """Number of the span's dimensions."""
        return int(self._own.shape[1])

    def is_of(self, rows: np.ndarray) -> bool:
        """Tell whether these are the rows, in their order."""
        return rows is self._rows or np.array_equal(rows, self._rows)

    def own_coordinates(self) -> np.ndarray:
        """Return the coordinates of the rows themselves, [rows, dimensions]."""
        return self._own

    def coordinates(self, rows: np.ndarray) -> np.ndarray:
        """Project rows, float64 [n, channels], onto the basis: [n, dimensions]."""
        products = self._basis @ rows.T
        solved: np.ndarray = solve_triangular(self._factor, products, lower=True).T
        return solved

    def from_coordinates(self, kernel: np.ndarray) -> np.ndarray:
        """Return a kernel, [dimensions, n], by channel; 0 where a channel is 0 in all rows."""
        weights = solve_triangular(self._factor, kernel, trans="T", lower=True)
        by_channel: np.ndarray = self._basis.T @ weights
        return by_channel


class Rows:
    """Rows in float64, sorted by their content, for all layers that read them."""

    def __init__(self, rows: np.ndarray) -> None:
        """Sort them.

        Args:
            rows: float [rows, channels].
        """
        self._order, self._same = _by_content(rows)
        self.sorted = rows[self._order].astype(np.float64)

    def order_for(self, targets: np.ndarray) -> np.ndarray:
        """Say which row is in each place of `sorted`; of rows that are alike, by their targets.

        Args:
            targets: class of each row, int [rows].
        """
        if self._same is None:
            return self._order
        order: np.ndarray = self._order[np.lexsort((targets[self._order], self._same))]
        return order


class Spans:
    """The spans of rows, each found once: heads, and a head's layers, read the same rows."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: list[Span] = []
        self._read: list[tuple[Taps, bytes, Rows]] = []

    def of(self, rows: np.ndarray) -> Span:
        """Find the span of rows, float64 [rows, channels]."""
        for known in self._known:
            if known.is_of(rows):
                return known
        self._known.append(Span(rows))
        return self._known[-1]

    def read(self, read: keras.Model, taps: Taps) -> Rows:
        """Compute what a head's last layer reads of the training rows.

        Args:
            read: the head up to there.
            taps: see `rows_of`.

        Raises:
            FloatingPointError: a feature is no number.
        """
        standard = _standard_of(read)
        for known, by, rows in self._read:
            if standard is not None and known is taps and by == standard:
                return rows
        rows = Rows(rows_of(read, taps, "training"))
        if standard is not None:
            self._read.append((taps, standard, rows))
        return rows


def _by_content(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Sort rows by their bytes.

    Returns:
        The rows' order; and where some are alike, the number of what each place holds.
    """
    # The first channels tell nearly all rows apart.
    for channels in dict.fromkeys((min(_FIRST, rows.shape[1]), rows.shape[1])):
        contents = np.ascontiguousarray(rows[:, :channels])
        contents = contents.view(f"V{contents.itemsize * channels}").ravel()
        order = np.argsort(contents, kind="stable")
        differs = contents[order[1:]] != contents[order[:-1]]
        if differs.all():
            return order, None
    return order, np.concatenate([[0], np.cumsum(differs)])


def _standard_of(read: keras.Model) -> bytes | None:
    """Return what tells a head's standardisation from another's; None where it does more."""
    found = [repr(list(read.input)).encode()]
    for layer in read.layers:
        if isinstance(layer, keras.layers.Normalization):
            found.append(layer.name.encode())
            found += [np.asarray(each).tobytes() for each in (layer.mean, layer.variance)]
        elif not isinstance(layer, (keras.layers.InputLayer, keras.layers.Concatenate)):
            return None
    return b"".join(found)


def rows_of(read: keras.Model, taps: Taps, split: str) -> np.ndarray:
    """Compute what a head's last layer reads, float32 [rows, channels].

    Args:
        read: the head up to there.
        taps: {tap: float32 [rows, channels]}; more than the head uses is fine.
        split: whose rows these are, to say so in an error.

    Raises:
        FloatingPointError: a feature is no number.
    """
    rows = read({name: taps[name] for name in read.input}, training=False).numpy()
    if not np.isfinite(rows).all():
        raise FloatingPointError(
            f"training diverged: a feature of the {split} rows is no number, which neither "
            "learning_rate nor another recipe of the head can mend; look at the weights file."
        )
    return rows
