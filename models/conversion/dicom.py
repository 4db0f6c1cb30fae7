"""DICOM → PNG: single grey radiographs of all transfer syntaxes that pylibjpeg decodes.

What isn't a frontal radiograph by its header is refused with the reason. How values become grey
levels is in `dicom_grey`, what is read of a file in `dicom_file`, its pixels in `dicom_pixels`.
pydicom is imported late: questions about other images don't need it.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.conversion.stored_png import stored_png
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering

if TYPE_CHECKING:
    from models.conversion.dicom_file import DicomFile
    from models.conversion.dicom_pixels import Layout

FORMAT = "DICOM"
SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
MAGIC = (128, b"DICM")
# Raised whenever the same file and the same decoders give other pixels.
_VERSION: Final = 2
_LIBRARIES: Final = (
    "pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle",
)  # fmt: skip

# JPEG's baseline and extended, near-lossless JPEG-LS, and JPEG 2000 and HTJ2K that may be lossy.
_LOSSY: Final = frozenset(
    {
        *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"),
        *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"),
    }
)
_KIND: Final = ("SOPClassUID", "Modality", "ViewPosition", "ViewCodeSequence")
# For who asks about more than the pixels; patients among it.
METADATA: Final = (
    *("PatientID", "IssuerOfPatientID", "PatientSex", "PatientAge", "PatientBirthDate"),
    *("StudyDate", "AcquisitionDate", "Manufacturer", "InstitutionName"),
    *("ImagerPixelSpacing", "PresentationIntentType"),
)
_KEPT: Final = 64 << 20
_PIECE: Final = 1 << 16
# An image of which fewer are left, from the darkest to the brightest, is none that can be read.
_GREY_LEVELS: Final = 64
# Modalities of projection radiographs, and what secondary captures are called (PS3.3, C.7.3.1.1.1).
_RADIOGRAPHS: Final = frozenset({"", "CR", "DX", "DR", "RG", "OT", "SC"})
# PS3.3, C.8.1.2 and C.8.11.5: views from the side. A decubitus (LLD, RLD) is frontal.
_SIDE_VIEWS: Final = {
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"), "lateral"),
    **dict.fromkeys(("LLO", "RLO", "LAO", "RAO", "LPO", "RPO"), "oblique"),
}
_SIDE_WORDS: Final = ("lateral", "oblique")
_FRONTAL_WORDS: Final = ("decubitus", "frontal")
_WITHOUT_PIXELS: Final = {
    "1.2.840.10008.5.1.4.1.1.104.": "an encapsulated document",
    "1.2.840.10008.5.1.4.1.1.88.": "a report",
    "1.2.840.10008.5.1.4.1.1.11.": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.9.": "a wave form",
}


class _Last(threading.local):
    """The header that a thread has read last."""

    content: bytes | None = None
    file: DicomFile | None = None


_last = _Last()


@cache
def version() -> str:
    """Name the module's version, and the decoders'."""
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {version_of(library)}")
        except PackageNotFoundError:
            found.append(f"no {library}")
    return f"{FORMAT} {_VERSION} ({', '.join(found)})"


def header(content: bytes) -> tuple[int, int, int]:
    """Read (width, height, bits stored) that a file claims; nothing is decoded.

    Raises:
        UnusableImageError: there is no such header, or it is of a kind that isn't read.
    """
    _, form = _read(content)
    return form.columns, form.rows, form.stored


def to_png(content: bytes, rendering: Rendering = DEFAULT) -> bytes:
    """Convert a whole file, whose size was asked for before by `header`.

    Args:
        content: of the file.
        rendering: what the standard leaves open.

    Raises:
        UnusableImageError: it is damaged, or of a kind that isn't read; or its header leaves next
            to nothing of it.
    """
    words, levels = shown(content, rendering)
    _check_contrast(words, levels)
    return stored_png(levels)


def identity(content: bytes, png: bytes, rendering: Rendering) -> str:
    """Name the pixels of a file that holds them without loss: SHA-256 of the PNG made of them.

    So an image stays in its split in whatever transfer syntax it is saved, and whichever window is
    configured; it is the same as that PNG, too. One that the usual window leaves nothing of is
    known by its values. What was lost depends on the decoder, which may change: such a file is
    known by its own digest.

    Args:
        content: of the file.
        png: what `to_png` made of it.
        rendering: with which.

    Returns:
        Hex digits; empty where the file's own digest counts.

    Raises:
        UnusableImageError: the header is malformed.
    """
    file, form = _read(content)
    if file.syntax in _LOSSY:
        return ""
    if rendering != DEFAULT:
        try:
            png = to_png(content, DEFAULT)
        except UnusableImageError:
            # A first window beside all pixels makes all images one; without any rendering, then.
            return _identity_of_values(file, form)
    return hashlib.sha256(png).hexdigest()


def _identity_of_values(file: DicomFile, form: Layout) -> str:
    from models.conversion.dicom_pixels import raw_words

    words = raw_words(file, form)
    values = _bits_that_count(form.allocated, form.stored, form.high_bit)[words].astype("<u2")
    claim = f"{form.rows} {form.columns} {form.stored} {form.signed}\n"
    return hashlib.sha256(claim.encode() + values.tobytes()).hexdigest()


def shown(content: bytes, rendering: Rendering) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Compute an image's grey levels, whatever is left of it.

    Args:
        content: of the file.
        rendering: what the standard leaves open.

    Returns:
        The pixels' words as they are stored, and their grey levels; both [height, width].

    Raises:
        UnusableImageError: it is damaged, or of a kind that isn't read.
    """
    from models.conversion.dicom_pixels import raw_words

    file, form = _read(content)
    words = raw_words(file, form)
    return words, _looked_up(words, _table(file, form, words, rendering))


def _check_contrast(words: NDArray[Any], levels: NDArray[np.uint8]) -> None:
    """Refuse what was an image, and is none any more.

    A window beside all pixels makes them all white, and 12 bits that are said to be 16 all black.
    """
    if int(levels.max()) - int(levels.min()) >= _GREY_LEVELS:
        return
    there, left = len(np.unique(words)), len(np.unique(levels))
    if there > 2 * left:
        raise UnusableImageError(
            f"a DICOM whose header leaves {left} grey {'level' if left == 1 else 'levels'} of "
            f"{there} different values: its window, or without one its BitsStored, doesn't fit its "
            "pixels (data.dicom_window takes another window; data.dicom_percentile, where there is "
            "none, the range of the pixels)"
        )


def _table(
    file: DicomFile, form: Layout, words: NDArray[Any], rendering: Rendering
) -> NDArray[np.uint8]:
    """Compute the grey level of every word that there may be, bits that don't count included."""
    from models.conversion.dicom_grey import grey_levels, has_voi

    stored = np.arange(2**form.stored)
    if form.signed:
        stored = np.where(stored >= 2 ** (form.stored - 1), stored - 2**form.stored, stored)
    every = _bits_that_count(form.allocated, form.stored, form.high_bit)
    counts = None
    if rendering.percentile and not has_voi(file):
        of_words = np.bincount(words.reshape(-1), minlength=2**form.allocated)
        counts = np.bincount(every, of_words, 2**form.stored).astype(np.int64)
    return grey_levels(file, stored, rendering, counts)[every]


@lru_cache(maxsize=4)
def _bits_that_count(allocated: int, stored: int, high_bit: int) -> NDArray[np.int64]:
    """Compute what is stored in each word that there may be: [2^allocated], 0..2^stored - 1."""
    return np.arange(2**allocated) >> (high_bit + 1 - stored) & (2**stored - 1)


def _looked_up(words: NDArray[Any], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if words.itemsize == 1:
        # Four times as fast as NumPy's.
        translated = words.tobytes().translate(table.tobytes())
        return np.frombuffer(translated, np.uint8).reshape(words.shape)
    # NumPy makes 64-bit places of the words: in pieces that stay in the cache, twice as fast.
    flat, found = words.reshape(-1), np.empty(words.size, np.uint8)
    for start in range(0, flat.size, _PIECE):
        piece = slice(start, start + _PIECE)
        np.take(table, flat[piece], out=found[piece], mode="clip")
    return found.reshape(words.shape)


def _read(content: bytes) -> tuple[DicomFile, Layout]:
    """Read the header, and refuse what is no radiograph.

    Raises:
        UnusableImageError: says why.
    """
    from models.conversion import dicom_pixels

    file = opened(content)
    _check_kind(file)
    return file, dicom_pixels.layout(file)


def opened(content: bytes) -> DicomFile:
    """Read a header, with what it says beside the pixels (`METADATA`).

    An image is asked for its size, its pixels and its metadata one after the other. To read the
    header takes a millisecond, as much as all else; so each thread keeps the last one.

    Args:
        content: of the file.

    Raises:
        UnusableImageError: it is damaged, says too much, or not how it is to be read.
    """
    from models.conversion import dicom_file, dicom_grey, dicom_pixels

    if _last.content is not content or _last.file is None:
        _last.content, _last.file = None, None
        keywords = (*_KIND, *METADATA, *dicom_pixels.KEYWORDS, *dicom_grey.KEYWORDS)
        _last.file = dicom_file.read(content, keywords)
        # Of a large file it isn't worth the memory.
        _last.content = content if len(content) <= _KEPT else None
    return _last.file


def _check_kind(file: DicomFile) -> None:
    kind = file.text("SOPClassUID")
    if file.start < 0:
        words = (word for begin, word in _WITHOUT_PIXELS.items() if kind.startswith(begin))
        raise UnusableImageError(f"a DICOM without pixels: {next(words, 'no image')}")
    modality = file.text("Modality").upper()
    if modality not in _RADIOGRAPHS:
        raise UnusableImageError(f"a DICOM of modality {modality!r}: no projection radiograph")
    view = _side_view(file)
    if view:
        raise UnusableImageError(f"a DICOM of {view} view: only frontal radiographs are read")


def _side_view(file: DicomFile) -> str:
    """Name a view from the side; "" where it is frontal, or not said."""
    position = file.text("ViewPosition").upper()
    if position in _SIDE_VIEWS:
        return f"{_SIDE_VIEWS[position]} ({position})"
    for item in file.items("ViewCodeSequence"):
        meaning = str(item.get("CodeMeaning") or "").casefold()
        if any(word in meaning for word in _FRONTAL_WORDS):
            continue
        for word in _SIDE_WORDS:
            if word in meaning:
                return f"{word} ({meaning})"
    return ""
