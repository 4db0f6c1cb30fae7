"""Which of several models is the best, by what they did on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Score(NamedTuple):
    """A candidate's validation result; compares by accuracy, then by lower loss.

    Attributes:
        accuracy: 0..1.
        negative_loss: minus the cross-entropy, nats.
    """

    accuracy: float
    negative_loss: float


def choose(scores: Mapping[str, Score]) -> str | None:
    """The name with the highest score; the first in the alphabet of equals; None of none."""
    return max(sorted(scores), key=lambda name: scores[name], default=None)
