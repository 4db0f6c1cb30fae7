"""Stored values → grey levels, in the standard's order (PS3.4, N.2): modality, VOI, presentation.

A stored value has 16 bits at most. So everything is computed once for each value that there may be,
exactly and in float64, and an image is then looked up in the table.

An image FOR PRESENTATION is no exception (PS3.3, C.8.11.1 and C.8.11.3): the maker has processed
its values, and its own window, or VOI LUT, is what it is to be shown with. That is applied once, as
of any image, and nothing comes on top of it. One without either is shown over the whole range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.conversion.dicom_file import DicomFile, named, values_of
from models.deep_images import UnusableImageError
from models.rendering import Rendering

KEYWORDS: Final = (
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PhotometricInterpretation", "PresentationLUTShape"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
_LINEAR: Final = "LINEAR"
_LINEAR_EXACT: Final = "LINEAR_EXACT"
_SIGMOID: Final = "SIGMOID"
_INVERSE: Final = "INVERSE"
_WHITE: Final = 255
_WORD: Final = 65536

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A window, or where `lut` isn't None a table, that chooses what is seen of the values."""

    center: float = 0.0
    width: float = 0.0
    lut: Lut | None = None


@dataclass(frozen=True)
class Lut:
    """A table of a Modality or VOI LUT Sequence (PS3.3, C.11.1.1 and C.11.2.1.1).

    Attributes:
        first: the value that the first entry is for; smaller ones have the first entry, too.
        entries: of the table; values beyond have the last.
        bits: of an entry.
    """

    first: int
    entries: NDArray[np.int64]
    bits: int

    def __call__(self, values: Values) -> Values:
        """Look values up."""
        places = np.rint(values) - self.first
        found: Values = self.entries[
            np.clip(places, 0, len(self.entries) - 1).astype(np.int64)
        ].astype(np.float64)
        return found


def grey_levels(
    file: DicomFile,
    stored: NDArray[np.int64],
    rendering: Rendering,
    counts: NDArray[np.int64] | None,
) -> NDArray[np.uint8]:
    """Compute the grey level of each stored value.

    Args:
        file: whose header says how.
        stored: [n] all values that BitsStored allows.
        rendering: what the standard leaves open.
        counts: [n] pixels with each of these values; needed where the image has no VOI and
            `rendering.percentile` isn't 0.

    Returns:
        uint8 [n].

    Raises:
        UnusableImageError: the header contradicts itself, or is malformed.
    """
    values, low, high = _modality(file, stored)
    choices = list(_choices(file, values))
    if choices:
        chosen = choices[rendering.window - 1 if rendering.window <= len(choices) else 0]
        seen = _windowed(chosen, values, _function(file))
    else:
        if rendering.percentile and counts is not None:
            counts = _without_padding(file, stored, counts)
            low, high = _percentiles(values, counts, rendering.percentile)
        seen = _stretched(values, low, high)
    if is_inverted(file):
        seen = 1.0 - seen
    levels: NDArray[np.uint8] = np.rint(seen * _WHITE).astype(np.uint8)
    return levels


def has_voi(file: DicomFile) -> bool:
    """Return whether the header has a window, or a VOI LUT.

    Raises:
        UnusableImageError: the header is malformed.
    """
    return bool(file.values("WindowCenter") or _tables(file, "VOILUTSequence"))


def is_inverted(file: DicomFile) -> bool:
    """Return whether low values are bright.

    MONOCHROME1 says so, and so does the presentation's shape INVERSE. A DX image has both (PS3.3,
    C.8.11.3), which means one inversion and not two.

    Raises:
        UnusableImageError: the header is malformed.
    """
    shape = file.text("PresentationLUTShape").upper()
    return file.text("PhotometricInterpretation") == "MONOCHROME1" or shape == _INVERSE


def _modality(file: DicomFile, stored: NDArray[np.int64]) -> tuple[Values, float, float]:
    """Return what the stored values mean, and the least and the largest that there may be."""
    values = stored.astype(np.float64)
    if tables := _tables(file, "ModalityLUTSequence"):
        values = _lut(tables[0], "ModalityLUTSequence", signed=bool(stored[0] < 0))(values)
        # What the table holds, and not what its entries' bits could: tables of 1,024 entries that
        # are said to have 16 bits, and go up to 1,023, would make all images black or white.
        return values, float(values.min()), float(values.max())
    slope = _one(file, "RescaleSlope", 1.0)
    intercept = _one(file, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnusableImageError(f"a DICOM whose {named('RescaleSlope')} is 0: nothing is left")
    values = values * slope + intercept
    return values, float(values.min()), float(values.max())


def _one(file: DicomFile, keyword: str, default: float) -> float:
    value = next(iter(file.numbers(keyword)), default)
    if not math.isfinite(value):
        raise UnusableImageError(f"a DICOM whose {named(keyword)} is {value}")
    return value


def _choices(file: DicomFile, values: Values) -> Iterator[Window]:
    """Yield all ways in which the image may be seen: its tables, then its windows."""
    for item in _tables(file, "VOILUTSequence"):
        yield Window(lut=_lut(item, "VOILUTSequence", signed=bool(values.min() < 0)))
    centers, widths = file.numbers("WindowCenter"), file.numbers("WindowWidth")
    if len(centers) != len(widths):
        raise UnusableImageError(
            f"a DICOM of {len(centers)} {named('WindowCenter')} and {len(widths)} "
            f"{named('WindowWidth')}"
        )
    for center, width in zip(centers, widths, strict=True):
        yield Window(center, width)


def _function(file: DicomFile) -> str:
    return file.text("VOILUTFunction").upper() or _LINEAR


def _windowed(window: Window, values: Values, function: str) -> Values:
    """Apply a window (PS3.3, C.11.2.1.2 and C.11.2.1.3) or a table: 0 is the darkest, 1 not."""
    if window.lut is not None:
        return _stretched(window.lut(values), 0.0, float(2**window.lut.bits - 1))
    center, width = window.center, window.width
    least = 1.0 if function == _LINEAR else 0.0
    if not (math.isfinite(center) and math.isfinite(width)) or width < least or width == 0:
        raise UnusableImageError(
            f"a DICOM whose {named('WindowWidth')} is {width:g} and {named('WindowCenter')} "
            f"{center:g}: no window"
        )
    if function == _LINEAR:
        center, width = center - 0.5, width - 1.0
    elif function == _SIGMOID:
        # Beyond 700 the exponential overflows, and the answer is 0 to the last bit anyway.
        seen: Values = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
        return seen
    elif function != _LINEAR_EXACT:
        raise UnusableImageError(
            f"a DICOM whose {named('VOILUTFunction')} is {function!r}, which the standard doesn't "
            "know"
        )
    return _stretched(values, center - width / 2, center + width / 2)


def _stretched(values: Values, low: float, high: float) -> Values:
    """Map low to 0 and high to 1, and what is beyond to the nearer one."""
    if high <= low:
        # A window of width 1 is a threshold.
        return (values > low).astype(np.float64)
    stretched: Values = np.clip((values - low) / (high - low), 0.0, 1.0)
    return stretched


def _percentiles(values: Values, counts: NDArray[np.int64], percent: float) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    wanted = below[-1] * np.array([percent, 100 - percent]) / 100
    # The smallest value that so many pixels, and one at least, don't exceed.
    low, high = values[order[np.searchsorted(below, np.maximum(wanted, 1))]]
    return float(low), float(high)


def _without_padding(
    file: DicomFile, stored: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Leave out what the maker put around the image (PS3.3, C.7.5.1.1.2)."""
    ends = [*file.numbers("PixelPaddingValue")[:1], *file.numbers("PixelPaddingRangeLimit")[:1]]
    if not ends:
        return counts
    image = np.where((stored >= min(ends)) & (stored <= max(ends)), 0, counts)
    return image if image.any() else counts


def _tables(file: DicomFile, keyword: str) -> list[Dataset]:
    """List a sequence's items but those without anything in them, which some software writes."""
    elements = "LUTDescriptor", "LUTData"
    return [
        item
        for item in file.items(keyword)
        if any(values_of(item, element) for element in elements)
    ]


def _lut(item: Dataset, name: str, *, signed: bool) -> Lut:
    """Read a table.

    Args:
        item: of the sequence.
        name: of the sequence, for messages.
        signed: whether the values that come in may be negative.
    """
    descriptor, data = values_of(item, "LUTDescriptor"), values_of(item, "LUTData")
    if len(descriptor) != 3 or not data or not all(isinstance(part, int) for part in descriptor):
        raise UnusableImageError(f"a DICOM whose {named(name)} has no whole table")
    length, first, bits = descriptor
    length = length % _WORD or _WORD
    first %= _WORD
    if signed and first >= _WORD // 2:
        first -= _WORD
    if not 1 <= bits <= 16:
        raise UnusableImageError(f"a DICOM whose {named(name)} has entries of {bits} bits")
    if isinstance(data[0], bytes):
        # OW; an entry of 8 bits may have a byte of its own.
        order = "<" if item.original_encoding[1] is not False else ">"
        narrow = bits <= 8 and len(data[0]) < 2 * length
        entries = np.frombuffer(data[0], "u1" if narrow else f"{order}u2")
    else:
        entries = np.array(data, np.int64) % _WORD
    if len(entries) < length:
        raise UnusableImageError(
            f"a DICOM whose {named(name)} has {len(entries)} of {length} entries"
        )
    return Lut(first, entries[:length].astype(np.int64) & (2**bits - 1), bits)
