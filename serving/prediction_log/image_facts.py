"""The facts that are logged of an image in place of its pixels."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from models.conversion import converter_of
from models.deep_images import PNG_HEADER, PNG_SIGNATURE
from models.image_statistics import grey_statistics

# A text that is as long is none that is looked up in a table of digests; what is shorter, such as a
# patient's number, could be.
_LONG: Final = 256
# Images in a row that may be measured before the rate counts.
_BURST: Final = 60


@dataclass(frozen=True)
class ImageFacts:
    """The facts of one image.

    Attributes:
        sha256: hex digest of the file, as the client sent it.
        size: of it, bytes.
        width: pixels; 0 where they aren't known.
        height: likewise.
        statistics: mean, standard deviation and entropy, as RadiographExampleGen computes
            them; None where nobody measured them.
    """

    sha256: str
    size: int
    width: int = 0
    height: int = 0
    statistics: tuple[float, float, float] | None = None


class Measure:
    """Says what is known of images, and of some of them also the grey levels."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing spent.

        Args:
            per_second: images that may be decoded, on average; 0 for none.
            clock: seconds.
        """
        self._per_second = per_second
        self._clock = clock
        self._left = float(_BURST if per_second else 0)
        self._seen = clock()
        self._lock = threading.Lock()

    def facts(self, sent: bytes, ready: bytes) -> ImageFacts:
        """Look at one image.

        Args:
            sent: the file, as the client sent it.
            ready: the same as the model sees it, a PNG.
        """
        digest = hashlib.sha256(sent).hexdigest()
        if not ready.startswith(PNG_SIGNATURE) or len(ready) < PNG_HEADER.size:
            return ImageFacts(digest, len(sent))
        width, height = PNG_HEADER.unpack_from(ready)[3:5]
        statistics = _statistics(ready) if self._may_decode() else None
        return ImageFacts(digest, len(sent), width, height, statistics)

    def _may_decode(self) -> bool:
        with self._lock:
            now = self._clock()
            earned = self._per_second * max(0.0, now - self._seen)
            self._left = min(float(_BURST), self._left + earned)
            self._seen = now
            if self._left < 1.0 or not self._per_second:
                return False
            self._left -= 1.0
            return True


def _statistics(png: bytes) -> tuple[float, float, float] | None:
    try:
        # The decoder of training.
        image = tf.io.decode_png(png, channels=1, dtype=tf.uint8).numpy()
    except tf.errors.OpError:  # it was answered, so the model sees no image in it
        return None
    return grey_statistics(np.asarray(image[:, :, 0]))


def is_image(content: bytes) -> bool:
    """Return whether a string of a request is an image, or anything else that is no short text."""
    if len(content) >= _LONG:
        return True
    return content.startswith(PNG_SIGNATURE) or converter_of(content) is not None
