"""Whatever a DICOM is or claims: one sentence, and little memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.fileset import FileSet
from pydicom.filewriter import write_file_meta_info

from models.conversion import converted, dicom
from models.deep_images import UnusableImageError
from tests.dicoms import dataset, encoded, frame, phantom, with_frame

_PIXELS = phantom(8)
_EXPLICIT = struct.Struct("<HH2s2xI")
_MEMORY = 64 << 20


def _file(*elements: bytes, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """Write raw elements behind a header with a transfer syntax."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.UID("2.25.1")
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue() + b"".join(elements)


def _element(group: int, element: int, vr: bytes, value: bytes, length: int = -1) -> bytes:
    return _EXPLICIT.pack(group, element, vr, len(value) if length < 0 else length) + value


def _without_syntax() -> bytes:
    content = encoded(dataset(_PIXELS))
    at = content.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack_from("<H", content, at + 6)
    return content[:at] + content[at + 8 + length :]


def _pdf() -> bytes:
    found = dataset(_PIXELS, PixelData=None, SOPClassUID=uid.EncapsulatedPDFStorage)
    found.EncapsulatedDocument = b"%PDF-1.4" * 100
    return encoded(found)


def _report() -> bytes:
    return encoded(dataset(_PIXELS, PixelData=None, SOPClassUID=uid.Comprehensive3DSRStorage))


def _dicomdir(tmp_path: Any) -> bytes:
    files = FileSet()
    found = dataset(
        _PIXELS,
        PatientID="P",
        PatientName="X",
        StudyInstanceUID="2.25.2",
        SeriesInstanceUID="2.25.3",
    )
    found.StudyDate, found.StudyTime, found.StudyID = "20200101", "101010", "1"
    found.SeriesNumber, found.InstanceNumber = 1, 1
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    files.add(found)
    files.write(tmp_path)
    content: bytes = (tmp_path / "DICOMDIR").read_bytes()
    return content


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.dcm", encoded(dataset(_PIXELS)))
    return buffer.getvalue()


def _with(**elements: Any) -> bytes:
    return encoded(dataset(_PIXELS, **elements))


def _with_vr(keyword: str, vr: str, value: Any) -> bytes:
    found = dataset(_PIXELS, WindowCenter=9, WindowWidth=9)
    del found[keyword]
    found.add_new(keyword, vr, value)
    return encoded(found)


# An item of a sequence that nobody can show: a number of 16 bits has three bytes.
_UNREADABLE = struct.pack("<HHIHH2sH3s", 0xFFFE, 0xE000, 11, 0x0028, 0x0010, b"US", 3, b"\1\2\3")


def _with_sequence(group: int, element: int, vr: bytes) -> bytes:
    """Write a sequence in the place of a short text or number."""
    content = encoded(dataset(_PIXELS))
    at = content.index(struct.pack("<HH2s", group, element, vr))
    (length,) = struct.unpack_from("<H", content, at + 6)
    sequence = _element(group, element, b"SQ", _UNREADABLE)
    return content[:at] + sequence + content[at + 8 + length :]


def _changed(keyword: str, value: int) -> bytes:
    """Change a number behind the back of what writes the pixels."""
    content = bytearray(encoded(dataset(_PIXELS)))
    tag = Dataset()
    setattr(tag, keyword, 1)
    element = next(iter(tag)).tag
    at = content.index(struct.pack("<HH", element.group, element.element) + b"US")
    struct.pack_into("<H", content, at + 8, value)
    return bytes(content)


def _unended() -> bytes:
    """Sequences in sequences, five thousand deep."""
    sequence = _element(0x0009, 0x1001, b"SQ", b"", 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return _file(sequence * 5000)


def _many_items() -> bytes:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (1 << 20)
    return _file(_element(0x0009, 0x1001, b"SQ", items, 0xFFFFFFFF))


def _encapsulated(*frames: bytes, syntax: uid.UID = uid.HTJ2KLossless) -> bytes:
    return with_frame(dataset(_PIXELS), syntax, *frames)


_STREAM = frame("HTJ2K lossless 8")


def _many_fragments() -> bytes:
    """Two million of them, in 16 MB."""
    content = _encapsulated(_STREAM)
    at = content.index(b"\xe0\x7f\x10\x00") + 12
    return content[:at] + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (2 << 20) + content[at:]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_without_syntax, "doesn't name its transfer syntax (0002,0010)"),
        (lambda: _file(syntax="1.2.3.4"), "unknown transfer syntax (1.2.3.4)"),
        (lambda: _file(syntax=uid.MPEG2MPML), "without pixels"),
        (lambda: _with(PixelData=None), "a DICOM without pixels: no image"),
        (_pdf, "a DICOM without pixels: an encapsulated document"),
        (_report, "a DICOM without pixels: a report"),
        (lambda: _with()[:-1000], "truncated: 1880 bytes of pixels, and 60×48 pixels of 8 bits"),
        (lambda: _with()[:401], "truncated: the file ends inside the DICOM header"),
        (lambda: _with()[:132], "doesn't name its transfer syntax"),
        (lambda: _changed("Rows", 65535), "truncated: 2880 bytes"),
        (lambda: _changed("Rows", 0), "damaged: a DICOM of 60×0 pixels"),
        (lambda: _changed("Rows", 24), "takes 1440: size or number of frames is wrong"),
        (lambda: _changed("BitsStored", 9), "9 bits stored up to bit 7, of 8"),
        (lambda: _with(Rows=None), "a DICOM without Rows (0028,0010)"),
        (lambda: _with_vr("Rows", "LO", "many"), "Rows (0028,0010) can't be read ('many')"),
        (lambda: _with_vr("Rows", "DS", "48.0"), "Rows (0028,0010) can't be read"),
        (lambda: _with_vr("Rows", "OB", b"1"), "Rows (0028,0010) can't be read"),
        (lambda: _with_sequence(0x28, 0x10, b"US"), "Rows (0028,0010) can't be read: wrong type"),
        (lambda: _with_sequence(0x8, 0x16, b"UI"), "SOPClassUID (0008,0016) can't be read: wrong"),
        (lambda: _with_sequence(0x2, 0x10, b"UI"), "TransferSyntaxUID (0002,0010) can't be read"),
        (lambda: _with_vr("WindowCenter", "LO", "wide"), "WindowCenter (0028,1050) can't be"),
        (_unended, "damaged: the DICOM header"),
        (lambda: _encapsulated(_STREAM, _STREAM), "claims one frame, and has 2"),
        (lambda: _encapsulated(b"\0\0"), "the JPEG 2000 in the DICOM has no header"),
        (lambda: _encapsulated(b"\0\0", syntax=uid.JPEGBaseline8Bit), "the JPEG in the DICOM has"),
        (lambda: _encapsulated(b"\0" * 64, syntax=uid.RLELossless), "damaged RLE Lossless data"),
        (lambda: _encapsulated(_STREAM)[:-20], "truncated: the file ends inside the compressed"),
        (_many_fragments, "compressed pixels are in more than 65536 items"),
        (lambda: _encapsulated(_STREAM[:99]), "cannot be decoded: damaged High-Throughput"),
        (lambda: _encapsulated(b"\0\0\1\xba" * 9, syntax=uid.MPEG2MPML), "isn't read (MPEG2"),
    ],
)
def test_each_has_its_sentence(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        converted(make())
    assert reason in str(caught.value)
    assert not str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_dicomdir_is_no_image(tmp_path: Any) -> None:
    content = _dicomdir(tmp_path)
    with pytest.raises(UnusableImageError, match="a DICOMDIR, the list of a disk's files"):
        converted(content)


def test_what_is_no_dicom_is_not_converted() -> None:
    for content in (_zip(), b"DICM" * 9, bytes(200)):
        assert converted(content) is content


def _peak(make: Callable[[], bytes], reason: str | None = None) -> int:
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(UnusableImageError, match=reason):
            converted(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _huge(vr: bytes, keyword_tag: tuple[int, int]) -> Callable[[], bytes]:
    def make() -> bytes:
        return _file(_element(*keyword_tag, vr, bytes(2 * _MEMORY)))

    return make


def _bomb() -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Flushed wholly, it is the same wherever it stands.
    part = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return _file(*[part] * 300, deflater.flush(), syntax=uid.DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_huge(b"OB", (0x0009, 0x1001)), id="private"),
        pytest.param(_huge(b"UT", (0x0028, 0x1050)), id="a window of 128 MiB"),
        pytest.param(_huge(b"UN", (0x0028, 0x3010)), id="a sequence"),
        pytest.param(_unended, id="nested"),
        pytest.param(_many_fragments, id="two million fragments"),
        pytest.param(lambda: _changed("Rows", 65535), id="rows"),
        pytest.param(
            lambda: with_frame(dataset(_PIXELS, Rows=65535, Columns=65535), uid.HTJ2K, _STREAM),
            id="65535×65535",
        ),
    ],
)
def test_memory_is_bounded(make: Callable[[], bytes]) -> None:
    assert _peak(make) < _MEMORY


def test_a_million_items_have_their_sentence_and_take_little_memory() -> None:
    assert _peak(_many_items, "header with more than 4 MiB, or 50000 elements") < _MEMORY


def test_a_deflated_bomb_is_refused() -> None:
    content = _bomb()
    assert len(content) < 2 << 20
    with pytest.raises(UnusableImageError, match="a deflated DICOM of more than 256 MiB"):
        converted(content)


def test_a_claim_is_refused_before_anything_is_decoded() -> None:
    found = dataset(_PIXELS, Rows=65535, Columns=65535)
    content = with_frame(found, uid.RLELossless, bytes(64))
    with pytest.raises(UnusableImageError, match="claims 65535×65535 pixels, more than 100000000"):
        converted(content)


def test_elements_that_nobody_asks_for_do_not_matter() -> None:
    """Of any size and of any nonsense, as long as the header can be followed."""
    found = dataset(_PIXELS)
    found.add_new(0x00091001, "OB", bytes(20 << 20))
    found.PatientName = "x" * 64
    found.add_new("PatientBirthDate", "DA", "")
    assert converted(encoded(found)) == converted(encoded(dataset(_PIXELS)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(["explicit", "implicit", "big endian", "RLE", "deflated"]))
    content = bytearray(encoded(dataset(_PIXELS, 8, WindowCenter=90, WindowWidth=99), syntax))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(132, len(content)))]
    try:
        png = converted(bytes(content), max_pixels=10**6)
    except UnusableImageError:
        return
    width, height, _ = dicom.header(bytes(content))
    assert np.asarray(Image.open(io.BytesIO(png))).shape == (height, width)


@cache
def _compressed(name: str) -> bytes:
    """Once each: GDCM gives its files new names, which may be of another length."""
    return encoded(dataset(_PIXELS), name)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_stream_is_refused_or_read(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["JPEG lossless", "JPEG-LS", "JPEG 2000 lossless"]))
    content = bytearray(_compressed(name))
    start = content.index(b"\xe0\x7f\x10\x00")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        converted(bytes(content), max_pixels=10**6)
    except UnusableImageError:
        return
