"""A DICOM's pixels → their bits as they are stored, by pydicom and pylibjpeg's decoders alone.

Which decoder is asked doesn't depend on what else is installed: another one may give other pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from models.conversion import codestream
from models.conversion.codestream import Codestream
from models.conversion.dicom_file import UNDEFINED, DicomFile, named
from models.deep_images import UnusableImageError

KEYWORDS: Final = (
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
EXTRA: Final = "dicom-jpeg"
PLUGIN: Final = "pylibjpeg"
_LIBJPEG: Final = (
    *(uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1),
    *(uid.JPEGLSLossless, uid.JPEGLSNearLossless),
)
_JPEG_2000: Final = (
    *(uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K),
)
# How a compressed image says its size, and how it begins.
_STREAMS: Final[dict[str, tuple[Callable[[bytes], Codestream], bytes]]] = {
    **dict.fromkeys(_LIBJPEG, (codestream.jpeg, codestream.JPEG_START)),
    **dict.fromkeys(_JPEG_2000, (codestream.jpeg_2000, codestream.JPEG_2000_START)),
}
# PS3.5, A.4: items, the first of which is the table of offsets, and what ends them.
_ITEM: Final = 0xE000FFFE
_END: Final = 0xE0DDFFFE
_ITEM_HEAD: Final = struct.Struct("<II")
# One image is in one item, or in some: they are listed, which takes a hundred bytes each.
_MAX_ITEMS: Final = 1 << 16
_DEPTHS: Final = (8, 16)


@dataclass(frozen=True)
class Layout:
    """The form of the pixels, as the header says and after it was checked.

    Attributes:
        rows: pixels.
        columns: pixels.
        allocated: bits that a pixel has, 8 or 16.
        stored: bits of these that count.
        high_bit: the highest of those, counted from 0.
        signed: whether the values are.
    """

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        return self.rows * self.columns * self.allocated // 8


def layout(file: DicomFile) -> Layout:
    """Read what the header says of the pixels; these aren't looked at.

    Raises:
        UnusableImageError: it is no single grey image, or the header contradicts itself.
    """
    frames = file.number("NumberOfFrames", 1)
    if frames != 1:
        raise UnusableImageError(f"a DICOM of {frames} frames: no single radiograph")
    interpretation = file.text("PhotometricInterpretation")
    samples = file.number("SamplesPerPixel", 1)
    if samples != 1 or not interpretation.startswith("MONOCHROME"):
        raise UnusableImageError(
            f"a coloured DICOM ({interpretation or 'no PhotometricInterpretation'}): no radiograph "
            "as a detector stores it"
            if samples != 1 or interpretation
            else f"a DICOM without {named('PhotometricInterpretation')}"
        )
    rows, columns = file.number("Rows"), file.number("Columns")
    if rows < 1 or columns < 1:
        raise UnusableImageError(f"damaged: a DICOM of {columns}×{rows} pixels")
    allocated = file.number("BitsAllocated")
    if allocated not in _DEPTHS:
        raise UnusableImageError(f"a DICOM of {allocated} bits a pixel, and only 8 and 16 are read")
    stored = file.number("BitsStored", allocated)
    high_bit = file.number("HighBit", stored - 1)
    if not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        raise UnusableImageError(
            f"a DICOM whose header contradicts itself: {stored} bits stored up to bit {high_bit}, "
            f"of {allocated}"
        )
    signed = file.number("PixelRepresentation", 0)
    return Layout(rows, columns, allocated, stored, high_bit, signed == 1)


def raw_words(file: DicomFile, form: Layout) -> NDArray[Any]:
    """Decode the pixels; bits that don't count are as they are in the file.

    Args:
        file: whose pixels are wanted.
        form: of them, the size of which is no more than is to be decoded.

    Returns:
        uint8 or uint16 [rows, columns].

    Raises:
        UnusableImageError: they are damaged, of a kind that isn't read, or not what the header
            says.
    """
    if file.start < 0:
        raise UnusableImageError("a DICOM without pixels")
    if not file.syntax.is_encapsulated:
        return _plain(file, form)
    if file.length != UNDEFINED:
        raise UnusableImageError("damaged: the DICOM's compressed pixels aren't in their items")
    return _decoded(file, form, _frame(file))


def _plain(file: DicomFile, form: Layout) -> NDArray[Any]:
    if file.length == UNDEFINED:
        raise UnusableImageError(
            "damaged: the DICOM's pixels are compressed, and its transfer syntax says they aren't"
        )
    there = min(file.length, len(file.content) - file.start)
    if there < form.size:
        raise UnusableImageError(
            f"truncated: {there} bytes of pixels, and {form.columns}×{form.rows} pixels of "
            f"{form.allocated} bits take {form.size}"
        )
    # Makers fill up to even or round numbers; a whole row more is another image than is claimed.
    if there - form.size >= form.size // form.rows and there - form.size > 1:
        raise UnusableImageError(
            f"a DICOM of {there} bytes of pixels, and one frame of {form.columns}×{form.rows} "
            f"pixels of {form.allocated} bits takes {form.size}: size or number of frames is wrong"
        )
    order = "<" if file.syntax.is_little_endian else ">"
    count = form.rows * form.columns
    shape = form.rows, form.columns
    if form.allocated == 16:
        return np.frombuffer(file.content, f"{order}u2", count, file.start).reshape(shape)
    if order == ">" and file.words:
        # PS3.5, 8.1.2 with 7.3: bytes in words, and the words' bytes in the other order.
        pairs = np.frombuffer(file.content, np.uint8, there // 2 * 2, file.start).reshape(-1, 2)
        return pairs[:, ::-1].reshape(-1)[:count].reshape(shape)
    return np.frombuffer(file.content, np.uint8, count, file.start).reshape(shape)


def _frame(file: DicomFile) -> bytes:
    """Put the one frame of encapsulated pixels together (PS3.5, A.4).

    Raises:
        UnusableImageError: it is damaged, or there are more frames than one.
    """
    items = list(_items(file))
    if not items:
        raise UnusableImageError("damaged: the DICOM's compressed pixels have no items")
    (_, offsets), *fragments = items
    frames = offsets // 4
    if file.syntax == uid.RLELossless:
        frames = max(frames, len(fragments))
    elif file.syntax in _STREAMS:
        begin = _STREAMS[file.syntax][1]
        starts = (file.content.startswith(begin, at) for at, _ in fragments)
        frames = max(frames, sum(starts))
    if frames > 1:
        raise UnusableImageError(f"a DICOM that claims one frame, and has {frames}")
    frame = b"".join(file.content[at : at + size] for at, size in fragments)
    if not frame:
        raise UnusableImageError("truncated: the DICOM's compressed pixels are empty")
    return frame


def _items(file: DicomFile) -> Iterator[tuple[int, int]]:
    """Yield start and length of each item."""
    at = file.start
    for _ in range(_MAX_ITEMS):
        if at + _ITEM_HEAD.size > len(file.content):
            raise UnusableImageError("truncated: the file ends inside the compressed pixels")
        tag, size = _ITEM_HEAD.unpack_from(file.content, at)
        at += _ITEM_HEAD.size
        if tag == _END:
            return
        if tag != _ITEM:
            raise UnusableImageError("damaged: the DICOM's compressed pixels aren't in items")
        if at + size > len(file.content):
            raise UnusableImageError("truncated: the file ends inside the compressed pixels")
        yield at, size
        at += size
    raise UnusableImageError(
        f"damaged: the DICOM's compressed pixels are in more than {_MAX_ITEMS} items"
    )


def _decoded(file: DicomFile, form: Layout, frame: bytes) -> NDArray[Any]:
    stream = None
    if file.syntax in _STREAMS:
        stream = _STREAMS[file.syntax][0](frame)
        _check(form, stream)
    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError as error:
        raise UnusableImageError(
            f"a DICOM of a transfer syntax that isn't read ({file.syntax.name})"
        ) from error
    if PLUGIN not in decoder.available_plugins:
        extra = EXTRA if file.syntax in _LIBJPEG else None
        raise UnusableImageError(
            f"a DICOM of {file.syntax.name}, which needs a decoder that isn't installed: "
            + (f"pip install 'cxr-tfx[{extra}]'" if extra else "pip install cxr-tfx anew")
        )
    options: Any = {
        "rows": form.rows,
        "columns": form.columns,
        "bits_allocated": form.allocated,
        # All bits are asked for, and their sign isn't: the table of grey levels knows it.
        "bits_stored": form.allocated,
        "pixel_representation": 0,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    try:
        words, _ = decoder.as_array(
            encapsulate([frame]), raw=True, decoding_plugin=PLUGIN, **options
        )
    # Each decoder has its own errors, and pydicom wraps them in RuntimeError.
    except Exception as error:
        raise UnusableImageError(
            f"cannot be decoded: damaged {file.syntax.name} data in the DICOM"
        ) from error
    if stream is not None and stream.bits > form.stored:
        _check_values(form, stream, words)
    return words


def _check(form: Layout, stream: Codestream) -> None:
    """Compare a compressed image with the header, before memory is taken for it.

    Raises:
        UnusableImageError: they disagree.
    """
    if stream.components != 1:
        raise UnusableImageError("a DICOM whose header says grey, and its compressed image colour")
    if (stream.width, stream.height) != (form.columns, form.rows):
        raise UnusableImageError(
            f"a DICOM whose header says {form.columns}×{form.rows} pixels, and its compressed "
            f"image {stream.width}×{stream.height}"
        )
    if not form.stored <= stream.bits <= form.allocated or form.high_bit != form.stored - 1:
        raise _other_bits(form, stream)
    if stream.signed is not None and stream.signed != form.signed:
        said = {True: "signed", False: "unsigned"}
        raise UnusableImageError(
            f"a DICOM whose header says {said[form.signed]} bits, and its compressed image "
            f"{said[stream.signed]} ones: which is right can't be known"
        )


def _check_values(form: Layout, stream: Codestream, words: NDArray[Any]) -> None:
    """Refuse an image of more bits than the header says, where it makes use of them.

    GDCM compresses all that is allocated, 16 bits, whatever BitsStored is. Its values are the same
    by either number.
    """
    beyond = words >> form.stored
    if form.signed:
        negative = (words >> (form.stored - 1)) & 1
        beyond = np.where(negative, beyond ^ (2 ** (stream.bits - form.stored) - 1), beyond)
    if beyond.any():
        raise _other_bits(form, stream)


def _other_bits(form: Layout, stream: Codestream) -> UnusableImageError:
    return UnusableImageError(
        f"a DICOM whose header says {form.stored} bits (BitsStored, up to bit {form.high_bit}), "
        f"and its compressed image {stream.bits}: which is right can't be known"
    )
