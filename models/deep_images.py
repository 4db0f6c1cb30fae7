"""16-bit images whose grey values are not scaled: little but black would be left of them.

A detector stores 10 to 14 bits. DICOM says how many in BitsStored (0028,0101; PS3.3, C.7.6.3), and
where there is no window (C.11.2), the whole range of them is shown. A PNG that was made of it
without scaling has lost that number: it has to be given.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

GREY_LEVELS: Final = 256
DEEP: Final = 16
_LOW_BITS: Final = 8
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Signature, length and type of the first chunk, then its width, height and bit depth: PNG
# specification, sections 5.2, 5.3 and 11.2.2.
PNG_HEADER: Final = struct.Struct(">8sI4sIIB")


class UnusableImageError(ValueError):
    """The reason why an image can't be used; without a full stop."""


def unscaled(content: bytes) -> str | None:
    """Say why an image can't be read as it stands; None where it can.

    Args:
        content: of an image file of any kind; only 16-bit PNGs are decoded.

    Returns:
        The reason, without a full stop; None for all other images, and for what can't be decoded.
    """
    if not is_deep(content):
        return None
    # TensorFlow is imported late: questions about other images don't need it.
    import tensorflow as tf

    try:
        image = tf.io.decode_png(content, channels=1, dtype=tf.uint8).numpy()
    except tf.errors.OpError:
        return None
    return too_dark(image)


def prepared(content: bytes, bits_stored: int) -> bytes:
    """Return an image as a model may see it: scaled where that is asked for.

    Args:
        content: as `scaled` takes it.
        bits_stored: likewise.

    Raises:
        UnusableImageError: it can't be scaled so, or little but black would be left of it.
    """
    content = scaled(content, bits_stored)
    reason = unscaled(content)
    if reason:
        raise UnusableImageError(reason)
    return content


def scaled(content: bytes, bits_stored: int) -> bytes:
    """Spread the values of an unscaled image over all 16 bits: 0..2^bits_stored - 1 to 0..65535.

    Args:
        content: of an image file of any kind.
        bits_stored: 9..15, of the detector; 0 to scale nothing.

    Returns:
        A 16-bit grey PNG; `content` itself where nothing is to be scaled.

    Raises:
        UnusableImageError: a value needs more than `bits_stored` bits, or little but black would be
            left all the same.
    """
    if not bits_stored or unscaled(content) is None:
        return content
    import tensorflow as tf

    values = tf.io.decode_png(content, channels=1, dtype=tf.uint16).numpy().astype(np.float64)
    highest, most = int(values.max()), 2**bits_stored - 1
    if highest > most:
        raise UnusableImageError(
            f"16-bit PNG with the grey value {highest}, which needs more than {bits_stored} bits: "
            "correct bits_stored"
        )
    spread = np.rint(values * ((2**DEEP - 1) / most)).astype(np.uint16)
    if too_dark(spread >> _LOW_BITS):
        raise UnusableImageError(
            f"16-bit PNG that is dark even after bits_stored = {bits_stored} has scaled it (its "
            f"highest grey value is {highest} of {most}): check how many bits its detector stores "
            f"({highest.bit_length()} would hold these values), scale it to the full 16 bits, or "
            "save it as 8-bit"
        )
    encoded: bytes = tf.io.encode_png(spread).numpy()
    return encoded


def is_deep(content: bytes) -> bool:
    """Return whether an image is a 16-bit PNG."""
    if len(content) < PNG_HEADER.size:
        return False
    signature, _, chunk, _, _, bit_depth = PNG_HEADER.unpack_from(content)
    return (signature, chunk, bit_depth) == (PNG_SIGNATURE, b"IHDR", DEEP)


def too_dark(image: np.ndarray) -> str | None:
    """Say what speaks against the high bytes of a 16-bit image; None where nothing does.

    The decoder keeps the high byte of 16 bits. A detector's 10 to 14 bits, unscaled, lie in
    the low ones.

    Args:
        image: of any shape: the high bytes.

    Returns:
        The reason, without a full stop; None where half of the grey levels or more are used.
    """
    highest = int(image.max())
    if highest >= GREY_LEVELS // 2:
        return None
    bits = highest.bit_length() + _LOW_BITS
    return (
        f"16-bit PNG whose grey values use at most {bits} of 16 bits "
        f"(none is above {2**bits - 1} of {2**DEEP - 1}), so that at most {highest + 1} of "
        f"{GREY_LEVELS} grey levels would be left: say how many bits the detector stores "
        f"(bits_stored), scale them to the full 16 bits, or save the image as 8-bit"
    )
