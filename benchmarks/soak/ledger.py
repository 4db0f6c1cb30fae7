"""The books of a soak: each request of a good client, and how it ended."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

# Of a probability. What the product itself allows between two engines.
_SAME: Final = 0.02
_KEPT_ERRORS: Final = 20


@dataclass
class Ledger:
    """Counts what clients saw. Threads may share it.

    Attributes:
        answered: digest of a good client's image -> answers that it got.
        by_client: kind of client -> requests, or connections, that ended as they should.
        refused: requests that were told to come again later, which they did.
        errors: that no good client may see, and what bad clients may not cause.
        error_lines: the first of them, in words.
        wrong: answers that differ from those of the quiet start.
    """

    answered: Counter[str] = field(default_factory=Counter)
    by_client: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    errors: int = 0
    error_lines: list[str] = field(default_factory=list)
    wrong: int = 0
    _expected: dict[int, np.ndarray] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, base: int, probabilities: Sequence[float]) -> None:
        """Keep the right answer to a phantom."""
        self._expected[base] = np.asarray(probabilities)

    def answer(self, client: str, sha256: str, base: int, probabilities: Sequence[float]) -> None:
        """Count an answer, and compare it."""
        right = self._expected[base]
        given = np.asarray(probabilities)
        same = given.shape == right.shape and bool(np.all(np.abs(given - right) <= _SAME))
        with self._lock:
            self.answered[sha256] += 1
            self.by_client[client] += 1
            self.wrong += not same

    def ended(self, client: str) -> None:
        """Count a bad client whose connection ended as it should."""
        with self._lock:
            self.by_client[client] += 1

    def refuse(self) -> None:
        """Count a request that has to come again."""
        with self._lock:
            self.refused += 1

    def error(self, client: str, words: str) -> None:
        """Count an error."""
        with self._lock:
            self.errors += 1
            if len(self.error_lines) < _KEPT_ERRORS:
                self.error_lines.append(f"{client}: {words}")
