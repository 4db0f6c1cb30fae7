"""DICOM bytes → the header's elements that are asked for, and where the pixels lie.

Whatever a file claims, little memory is used: elements that nobody asks for are passed over, what
is read is counted, and the pixels stay where they are.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, SupportsFloat

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from models.deep_images import UnusableImageError

# pydicom warns of values that the standard doesn't allow, and logs them: names of patients, too.
# Those that matter here are refused, in words of our own.
config.settings.reading_validation_mode = config.IGNORE
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_PREFIX_END: Final = 132
UNDEFINED: Final = 0xFFFFFFFF
# What is read of a header at most: bytes, and how often, which is once or twice an element. An item
# of 8 bytes takes a kilobyte of memory.
_MAX_READ: Final = 4 << 20
_MAX_READS: Final = 100_000
# A deflated file grows by no more than that (RFC 1951 allows a thousand times).
_MAX_INFLATED: Final = 256 << 20
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_FLOATS: Final = frozenset({0x7FE00008, 0x7FE00009})
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
# What pydicom raises about values that aren't what their VR says.
_MALFORMED: Final = (
    *(AttributeError, KeyError, NotImplementedError, OverflowError, TypeError, ValueError),
    *(EOFError, OSError, RecursionError, struct.error, BytesLengthException),
)
_SHOWN: Final = 40
_Stop = Callable[[BaseTag, str | None, int], bool]


@dataclass(frozen=True)
class DicomFile:
    """A DICOM whose pixels weren't looked at yet.

    Attributes:
        header: the elements that were asked for, as far as they are there.
        syntax: the transfer syntax.
        content: of the file; inflated, where it was deflated.
        start: offset of the pixels in it; -1 where there are none.
        length: of the pixels in bytes; UNDEFINED where they are encapsulated.
        words: whether the pixels are words (OW), by which their bytes are ordered.
    """

    header: Dataset
    syntax: UID
    content: bytes
    start: int
    length: int
    words: bool

    def text(self, keyword: str) -> str:
        """Return an element's text, "" where there is none; of several values, the first.

        Raises:
            UnusableImageError: the element is malformed.
        """
        return _first_text(self.header, keyword).strip()

    def number(self, keyword: str, default: int | None = None) -> int:
        """Return an element's integer.

        Args:
            keyword: of the element.
            default: where there is none; None where there has to be one.

        Raises:
            UnusableImageError: the element is malformed, or there is none.
        """
        values = self.values(keyword)
        if not values:
            if default is None:
                raise UnusableImageError(f"a DICOM without {named(keyword)}")
            return default
        value = values[0]
        # IS is a text that pydicom reads as an int; DS or LO in its place are a wrong VR.
        if isinstance(value, bool) or not isinstance(value, int):
            raise _malformed(keyword, value)
        return int(value)

    def numbers(self, keyword: str) -> list[float]:
        """Return an element's numbers, none where there is none.

        Raises:
            UnusableImageError: the element is malformed.
        """
        found = []
        for value in self.values(keyword):
            if not isinstance(value, SupportsFloat):
                raise _malformed(keyword, value)
            found.append(float(value))
        return found

    def items(self, keyword: str) -> list[Dataset]:
        """Return a sequence's items, none where there is none.

        Raises:
            UnusableImageError: the element is no sequence.
        """
        found = self.values(keyword)
        for item in found:
            if not isinstance(item, Dataset):
                raise _malformed(keyword, item)
        return found

    def values(self, keyword: str) -> list[Any]:
        """Return an element's values, none where there is none.

        Raises:
            UnusableImageError: the element is malformed.
        """
        return values_of(self.header, keyword)


def values_of(dataset: Dataset, keyword: str) -> list[Any]:
    """Return an element's values, none where there is none or it is empty.

    Args:
        dataset: the header, or an item of one of its sequences.
        keyword: of the element.

    Raises:
        UnusableImageError: the element is malformed.
    """
    try:
        value = dataset.get(keyword)
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        values = list(value) if several else [value]
    except _MALFORMED as error:
        raise _malformed(keyword, None) from error
    return [one for one in values if one is not None and one != "" and one != b""]


def read(content: bytes, keywords: Sequence[str]) -> DicomFile:
    """Read what is asked for of a header.

    Args:
        content: of a file, with DICM at 128.
        keywords: of the elements.

    Raises:
        UnusableImageError: it is damaged, says too much, or not how it is to be read.
    """
    head = _Head(content, _PREFIX_END)
    meta = _elements(head, False, True, lambda tag, _, __: tag >> 16 != 2, None)
    name = _meta_text(meta, "TransferSyntaxUID")
    if _meta_text(meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        raise UnusableImageError("a DICOMDIR, the list of a disk's files, and no image")
    if not name:
        raise UnusableImageError("a DICOM that doesn't name its transfer syntax (0002,0010)")
    syntax = UID(name)
    # Of unknown syntaxes nothing is known: neither order of bytes nor how elements begin.
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise UnusableImageError(f"a DICOM of an unknown transfer syntax ({name[:_SHOWN]})")
    start = head.tell()
    if syntax == DeflatedExplicitVRLittleEndian:
        content, start = _inflated(content[start:]), 0
    head = _Head(content, start)
    return _dataset(head, content, syntax, keywords)


def _dataset(head: _Head, content: bytes, syntax: UID, keywords: Sequence[str]) -> DicomFile:
    found: list[tuple[int, str | None, int, int]] = []

    def is_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            found[:] = [(tag, vr, length, head.tell())]
        return tag in _PIXELS

    tags = [tag_for_keyword(keyword) for keyword in keywords]
    header = _elements(
        head, syntax.is_implicit_VR, syntax.is_little_endian, is_pixels, list(filter(None, tags))
    )
    if not found and head.cut:
        raise UnusableImageError("truncated: the file ends inside the DICOM header")
    if not found:
        return DicomFile(header, syntax, content, -1, 0, False)
    tag, vr, length, start = found[0]
    if tag in _FLOATS:
        raise UnusableImageError("a DICOM whose pixels are no integers: no radiograph")
    return DicomFile(header, syntax, content, start, length, vr != "OB")


def named(keyword: str) -> str:
    """Write an element with its tag, as messages do."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _malformed(keyword: str, value: object) -> UnusableImageError:
    # A data set is long, and may not even be shown: that reads all that is in it.
    is_shown = value is not None and not isinstance(value, Dataset)
    shown = f" ({str(value)[:_SHOWN]!r})" if is_shown else ""
    return UnusableImageError(
        f"a DICOM whose {named(keyword)} can't be read{shown}: wrong type (VR) or damaged"
    )


def _meta_text(meta: Dataset, keyword: str) -> str:
    return _first_text(meta, keyword).strip().rstrip("\0")


def _first_text(dataset: Dataset, keyword: str) -> str:
    values = values_of(dataset, keyword)
    if values and isinstance(values[0], Dataset):
        raise _malformed(keyword, None)
    return str(values[0]) if values else ""


def _elements(
    head: _Head, implicit: bool, little: bool, stop: _Stop, tags: list[int] | None
) -> Dataset:
    try:
        return read_dataset(head, implicit, little, stop_when=stop, specific_tags=tags)
    except (*_MALFORMED, UnusableImageError) as error:
        # pydicom makes an OSError of whatever happens at the start of an item.
        reason = head.refusal or "damaged: the DICOM header can't be read"
        raise UnusableImageError(reason) from error


def _inflated(data: bytes) -> bytes:
    """Inflate a data set (PS3.5, A.5: RFC 1951, without a header)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, _MAX_INFLATED)
    except zlib.error as error:
        raise UnusableImageError("damaged: the deflated DICOM can't be inflated") from error
    if inflater.unconsumed_tail:
        raise UnusableImageError(f"a deflated DICOM of more than {_MAX_INFLATED >> 20} MiB")
    if not inflater.eof:
        raise UnusableImageError("truncated: the deflated DICOM ends too early")
    return content


class _Head(io.BytesIO):
    """A file that counts what is read of it, and shares its bytes with whoever has them."""

    def __init__(self, content: bytes, start: int) -> None:
        super().__init__(content)
        self._left = _MAX_READ
        self._reads = _MAX_READS
        self.refusal = ""
        self._size = len(content)
        self._short = False
        self.seek(start)

    @property
    def cut(self) -> bool:
        """True where something was to be read, or passed over, that isn't there."""
        return self._short or self.tell() > self._size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; a value that ends behind the file is refused before."""
        at = self.tell()
        wanted = self._size - at if size is None or size < 0 else size
        if wanted > self._left or not self._reads:
            self.refusal = (
                f"a DICOM header with more than {_MAX_READ >> 20} MiB, or {_MAX_READS // 2} "
                f"elements, to read (at byte {at}): damaged, or no radiograph"
            )
            raise UnusableImageError(self.refusal)
        self._left -= wanted
        self._reads -= 1
        data = super().read(wanted)
        self._short |= 0 < len(data) < wanted or (not data and at > self._size)
        return data
