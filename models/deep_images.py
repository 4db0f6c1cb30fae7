"""16-bit images whose grey values nobody scaled: little but black would be left of them."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

GREY_LEVELS: Final = 256
_DEEP: Final = 16
_LOW_BITS: Final = 8
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Length and type of the first chunk, then width, height and bit depth: PNG specification, sections
# 5.2, 5.3 and 11.2.2.
_HEADER: Final = struct.Struct(">8sI4sIIB")


def unscaled(content: bytes) -> str | None:
    """Why an image can't be read as it stands, where it is such a one.

    Args:
        content: of an image file of any kind; only 16-bit PNGs are decoded.

    Returns:
        The reason, without a full stop; None for all other images, and for what can't be decoded.
    """
    if len(content) < _HEADER.size:
        return None
    signature, _, chunk, _, _, bit_depth = _HEADER.unpack_from(content)
    if (signature, chunk, bit_depth) != (_SIGNATURE, b"IHDR", _DEEP):
        return None
    # TensorFlow is imported late: whoever asks about other images needs none.
    import tensorflow as tf

    try:
        image = tf.io.decode_png(content, channels=1, dtype=tf.uint8).numpy()
    except tf.errors.OpError:
        return None
    return too_dark(image)


def too_dark(image: np.ndarray) -> str | None:
    """What speaks against the high bytes of a 16-bit image.

    The decoder keeps the high byte of 16 bits. A detector's 10 to 14 bits that nobody scaled lie in
    the low ones.

    Args:
        image: uint8, of any shape: the high bytes.

    Returns:
        The reason, without a full stop; None where half of the grey levels or more are used.
    """
    highest = int(image.max())
    if highest >= GREY_LEVELS // 2:
        return None
    bits = highest.bit_length() + _LOW_BITS
    return (
        f"16-bit PNG whose grey values use at most {bits} of 16 bits "
        f"(none is above {2**bits - 1} of {2**_DEEP - 1}), so that at most {highest + 1} of "
        f"{GREY_LEVELS} grey levels would be left: scale them to the full 16 bits, or save "
        f"the image as 8-bit"
    )
