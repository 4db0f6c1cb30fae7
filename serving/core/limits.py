"""The limits of what a request may ask for."""

from __future__ import annotations

import io
import warnings
from typing import Final

import numpy as np
from PIL import Image

from models.conversion import converter_of, dicom, prepared
from serving.protocol.status import invalid
from serving.protocol.tensors import Tensors
from serving.settings import Limits

# How the formats begin that TensorFlow's decoder takes.
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
# Where in a tf.Example an image's first byte may be: before it, other features.
_LOOK: Final = 1 << 20


def checked(inputs: Tensors, limits: Limits) -> Tensors:
    """Refuse batches and images that are too large, and scale images as it is told.

    Args:
        inputs: of a request.
        limits: bounds.

    Returns:
        The inputs; copies of those in which an image was scaled.

    Raises:
        ServingError: says which bound, and what was asked for.
    """
    check_rows(inputs, limits)
    ready = dict(inputs)
    for name, value in inputs.items():
        if value.dtype == np.object_:
            images = [
                _checked_image(f"{name}: image {i}", image, limits)
                for i, image in enumerate(value.ravel())
            ]
            if any(one is not other for one, other in zip(images, value.ravel(), strict=True)):
                ready[name] = np.array(images, np.object_).reshape(value.shape)
    return ready


def check_rows(inputs: Tensors, limits: Limits) -> None:
    """Refuse batches that are too large.

    Args:
        inputs: of a request.
        limits: bounds.

    Raises:
        ServingError: says which bound, and what was asked for.
    """
    for name, value in inputs.items():
        if value.ndim and len(value) > limits.batch_size:
            raise invalid(
                f"{name}: a batch of {len(value)} is more than the {limits.batch_size} that this "
                "server takes; send several requests"
            )


def _checked_image(what: str, content: bytes, limits: Limits) -> bytes:
    """Check one image. Its depth is looked at only where it isn't in a tf.Example."""
    # A DICOM's pixels may look like the beginning of another image; it is asked by its converter.
    pixels = None if converter_of(content) is dicom else claimed_pixels(content)
    if pixels is not None and pixels > limits.pixels:
        raise invalid(f"{what} has {pixels} pixels, and this server takes {limits.pixels}")
    try:
        return prepared(content, limits.bits_stored, limits.pixels, limits.rendering)
    except ValueError as error:
        raise invalid(f"{what}: {error}") from error


def claimed_pixels(content: bytes) -> int | None:
    """Read how many pixels an image's header claims; None of what is no image.

    Args:
        content: of a file; also a serialized tf.Example, in which the image is found by how
            it begins.
    """
    begins = [at for magic in _MAGIC[:2] if (at := content.find(magic, 0, _LOOK)) >= 0]
    if not begins and not content.startswith(_MAGIC):
        return None
    start = min(begins, default=0)
    try:
        with warnings.catch_warnings():
            # Pillow's own warning of a bomb: ours says more.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content[start:])) as image:
                return int(image.width * image.height)
    except Image.DecompressionBombError:
        return _of_bomb(content[start:])
    # A damaged header: the decoder says so in its own words.
    except (OSError, SyntaxError, ValueError):
        return None


def _of_bomb(png: bytes) -> int:
    """Read width times height from a PNG's first chunk; of others return Pillow's own bound."""
    if png.startswith(_MAGIC[0]) and len(png) >= 24:
        return int.from_bytes(png[16:20], "big") * int.from_bytes(png[20:24], "big")
    return 2 * int(Image.MAX_IMAGE_PIXELS or 0) + 1
