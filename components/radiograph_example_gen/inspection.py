"""One image file → what Transform will see of it, or the reason to leave it out."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.radiograph_example_gen.converted import NOTHING_KEPT, ConvertedImages
from components.radiograph_example_gen.discovery import Candidate
from components.radiograph_example_gen.headers import read_header
from components.radiograph_example_gen.readers import dicom, reader_of
from components.radiograph_example_gen.salt import may_be_dicom
from components.radiograph_example_gen.settings import Limits
from models.conversion.stored_png import grey_of
from models.deep_images import DEEP, UnusableImageError, is_deep, too_dark
from models.image_statistics import grey_statistics

# Several are read at once. The largest image of `contract.MAX_PIXELS` takes a fifth.
_MAX_BYTES: Final = 1 << 30
GreyImage = NDArray[np.uint8]


@dataclass(frozen=True)
class Inspection:
    """The outcome for one file; `reason` is empty where the image is usable.

    Attributes:
        path: relative to the data folder.
        class_name: from the folder.
        sha256: hex digest of the file, or as `Reader.identity` has it; empty where the file could
            not be read.
        size: bytes.
        width: pixels.
        height: pixels.
        bit_depth: bits a sample, as the header says.
        mean: grey level 0..255.
        std: population standard deviation, grey levels.
        entropy: Shannon entropy of the grey histogram, bits a pixel, 0..8.
        reason: why the image is left out.
        bits_stored: by which its values were scaled; 0 where they weren't.
        conversion: what made a PNG of it, with versions; empty where nothing had to.
        file_sha256: hex digest of the file, where `sha256` is another.
        header: what a DICOM's header says (`headers.Header.text`).
        numbers: likewise.
        unread: likewise.
    """

    path: str
    class_name: str
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    bit_depth: int = 0
    mean: float = 0.0
    std: float = 0.0
    entropy: float = 0.0
    reason: str = ""
    bits_stored: int = 0
    conversion: str = ""
    file_sha256: str = ""
    header: Mapping[str, str] = field(default_factory=dict, hash=False)
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)
    unread: Sequence[str] = field(default=(), hash=False)

    @property
    def file_digest(self) -> str:
        """Hex digest of the file; empty where it could not be read."""
        return self.file_sha256 or self.sha256

    def to_json(self) -> str:
        """Write one line of JSON; floats survive the round trip exactly."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Inspection:
        """Read what `to_json` wrote."""
        found = json.loads(line)
        return cls(**{**found, "unread": tuple(found["unread"])})


def inspect_file(
    data_dir: str,
    candidate: Candidate,
    limits: Limits,
    salt: bytes = b"",
    converted: ConvertedImages = NOTHING_KEPT,
) -> Inspection:
    """Read, check and measure one image. Never raises for what the file may hold.

    Args:
        data_dir: where the image's path starts.
        candidate: the image.
        limits: of images.
        salt: for the patient's id in a DICOM's header, which isn't read where there is none.
        converted: gets what is made of a usable image.
    """
    known: dict[str, Any] = {"path": candidate.path, "class_name": candidate.class_name}
    try:
        content, state = read_with_state(Path(data_dir) / candidate.path)
        digest = hashlib.sha256(content).hexdigest()
        known |= {"sha256": digest, "size": len(content)}
        reader = reader_of(content)
        known["conversion"] = reader.conversion()
        if reader is dicom and not may_be_dicom(candidate.path.rpartition("/")[2]):
            raise UnusableImageError(
                "a DICOM that is called as another format, so its patient would not be known: "
                "rename it to end in .dcm"
            )
        width, height, bit_depth = reader.header(content)
        if salt and reader is dicom:
            header = read_header(content, salt)
            known |= {"header": header.text, "numbers": header.numbers, "unread": header.unread}
        known |= {"width": width, "height": height, "bit_depth": bit_depth}
        _check_size(width, height, limits)
        # What is converted knows its bits by itself.
        bits = limits.bits_stored if bit_depth == DEEP and not known["conversion"] else 0
        # From here on, the PNG that Transform will see.
        whole, content = content, reader.for_example(content, bits, limits.rendering)
        # What was converted here is known to be whole.
        image = grey_of(content) if known["conversion"] else decode_grey(content)
        if identity := reader.identity(whole, content, limits.rendering):
            known |= {"sha256": identity, "file_sha256": digest}
        if is_deep(content) and (reason := too_dark(image)):
            raise UnusableImageError(reason)
        mean, std, entropy = grey_statistics(image)
    except OSError as error:
        return Inspection(**known, reason=f"cannot be read: {error.strerror or error}")
    except UnusableImageError as error:
        return Inspection(**known, reason=str(error))
    if content is not whole:
        converted.keep(content, digest, state)
    return Inspection(**known, mean=mean, std=std, entropy=entropy, bits_stored=bits)


def read_regular_file(path: Path) -> bytes:
    """Read a whole file; a pipe or device is refused, for reading it may never end.

    Raises:
        OSError: it cannot be read, is not a regular file, or larger than any radiograph.
    """
    return read_with_state(path)[0]


def read_with_state(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a whole file, like `read_regular_file`, and what the disk said of it before.

    Raises:
        OSError: likewise.
    """
    found = path.stat()
    mode = found.st_mode
    if found.st_size > _MAX_BYTES:
        raise OSError(f"larger than {_MAX_BYTES >> 20} MiB")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError("not a regular file")
    with path.open("rb") as file:
        return file.read(), found


def decode_grey(content: bytes) -> GreyImage:
    """Decode with the decoder that Transform uses, so that what passes here passes there.

    Returns:
        uint8 [height, width].

    Raises:
        UnusableImageError: truncated, damaged or refused by the decoder.
    """
    # TensorFlow is imported late: the driver needs this module's file access only.
    import tensorflow as tf

    try:
        image = tf.io.decode_png(content, channels=1, dtype=tf.uint8).numpy()
    except tf.errors.OpError as error:
        reader = reader_of(content)
        damage = f"damaged {reader.FORMAT} data"
        cut = f"truncated: the {reader.FORMAT} has no end mark"
        reason = damage if reader.END in content else cut
        raise UnusableImageError(f"cannot be decoded: {reason}") from error
    return np.asarray(image[:, :, 0])


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise UnusableImageError(
            f"claims {width}×{height} pixels, more than data.max_pixels = {limits.max_pixels}"
        )
    if min(width, height) < limits.min_side:
        raise UnusableImageError(
            f"{width}×{height} pixels: a side is below data.min_side = {limits.min_side}"
        )
