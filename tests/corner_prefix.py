"""A "network" whose only feature is the upper left pixel, with a store in front of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np

from models.engines import OPENVINO_F32
from models.feature_store.stored_prefix import Source, StoredPrefix
from models.prefix import BATCH, Job, Plan, Prefix


class CornerPrefix:
    """In the place of `models.prefix.Prefix`; counts what it sees.

    Attributes:
        images: that it has seen.
        loaded: how often it was asked for.
        plan, batch: as `Prefix` has them.
    """

    plan = Plan(OPENVINO_F32, BATCH)
    batch = BATCH

    def __init__(self, fail_after: int | None = None) -> None:
        """Raise as Ctrl-C does once it has seen more images than `fail_after`."""
        self.images = 0
        self.loaded = 0
        self._fail_after = fail_after

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Batch by batch."""
        for batch in batches:
            self.images += len(batch)
            if self._fail_after is not None and self.images > self._fail_after:
                raise KeyboardInterrupt
            yield {"corner": batch[:, 0, 0, 0].astype(np.float32)}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """One batch."""
        (features,) = self.stream([images])
        return features


def stored(root: str | None, prefix: CornerPrefix, **facts: Any) -> StoredPrefix:
    """A store at `root`, and `prefix` behind it; `facts` are of its key."""
    source = Source(Job("vgg16", None, ("head",), "", ("last",), OPENVINO_F32), None)
    source.root = root
    source.facts = {"engine_asked_for": [OPENVINO_F32, "1"], **facts}

    def load() -> Prefix:
        prefix.loaded += 1
        return cast(Prefix, prefix)

    return StoredPrefix(source, load)
