"""A DICOM becomes the PNG of its pixels, in whatever transfer syntax they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders import pylibjpeg

from models import conversion
from models.conversion import converted, dicom, dicom_pixels, prepared
from models.conversion.stored_png import stored_png
from models.deep_images import UnusableImageError
from tests.dicoms import (
    FRAMES,
    LOSSLESS,
    LOSSY,
    PLAIN,
    dataset,
    encoded,
    frame,
    from_frame,
    phantom,
    read_by_gdcm,
    with_frame,
)

_BITS = {"JPEG baseline": 8, "JPEG extended": 8}


def _grey(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(converted(content))))


def _full_range(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    return np.rint(pixels / (2**bits - 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_without_loss_it_is_the_png_of_the_same_pixels(syntax: str) -> None:
    pixels = phantom(8)
    assert converted(encoded(dataset(pixels), syntax)) == stored_png(pixels)
    inverted = dataset(255 - pixels, PhotometricInterpretation="MONOCHROME1")
    assert converted(encoded(inverted, syntax)) == stored_png(pixels)


@pytest.mark.parametrize("syntax", [*PLAIN, "RLE", "JPEG 2000 lossless"])
def test_an_odd_number_of_bytes(syntax: str) -> None:
    odd = phantom(8, (33, 35))
    assert converted(encoded(dataset(odd), syntax)) == stored_png(odd)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_bits_are_shown_over_their_whole_range(syntax: str, bits: int) -> None:
    pixels = phantom(bits)
    content = encoded(dataset(pixels, bits), syntax)
    assert dicom.header(content) == (60, 48, bits)
    assert (_grey(content) == _full_range(pixels, bits)).all()
    signed = (pixels.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    assert (_grey(encoded(dataset(signed, bits), syntax)) == _full_range(pixels, bits)).all()


@pytest.mark.parametrize("syntax", LOSSY)
@pytest.mark.parametrize("bits", [8, 16])
def test_lossy_pixels_are_nearly_the_same(syntax: str, bits: int) -> None:
    bits = _BITS.get(syntax, bits)
    pixels = phantom(bits)
    found = _grey(encoded(dataset(pixels), syntax)).astype(int)
    assert np.abs(found - _full_range(pixels, bits)).max() <= 2


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_others_compressed(name: str) -> None:
    bits = FRAMES[name][1]
    found = _grey(from_frame(name)).astype(int)
    most = 0 if "lossless" in name else 1
    assert np.abs(found - _full_range(phantom(bits), bits)).max() <= most


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [
        *((syntax, bits) for syntax in LOSSLESS for bits in (8, 12, 16)),
        *((syntax, _BITS.get(syntax, 16)) for syntax in LOSSY),
    ],
)
def test_gdcm_decodes_the_same(syntax: str, bits: int) -> None:
    content = encoded(dataset(phantom(bits), bits), syntax)
    _agree(content, most=0 if syntax in LOSSLESS or "LS" in syntax else 2)


@pytest.mark.parametrize("name", [name for name in FRAMES if not name.startswith("HT")])
def test_gdcm_decodes_the_same_of_frames_that_others_compressed(name: str) -> None:
    """But for HTJ2K, which GDCM 3.2 doesn't know."""
    _agree(from_frame(name), most=0 if "lossless" in name else 2)


def _agree(content: bytes, most: int) -> None:
    file, form = dicom._read(content)
    ours = dicom_pixels.raw_words(file, form).astype(int)
    assert np.abs(ours - read_by_gdcm(content)).max() <= most


@pytest.mark.parametrize("syntax", ["explicit", "big endian", "RLE", "deflated"])
@pytest.mark.parametrize("high_bit", [11, 13])
def test_bits_that_do_not_count_are_masked(syntax: str, high_bit: int) -> None:
    """Old overlays lie in them (PS3.5, 8.1.1), above the values or below."""
    pixels = phantom(12)
    shift = high_bit - 11
    noise = np.random.default_rng(0).integers(0, 2**16, pixels.shape, dtype=np.uint16)
    words = (noise & ~np.uint16(4095 << shift)) | (pixels << shift)
    content = encoded(dataset(words, 12, HighBit=high_bit), syntax)
    assert (_grey(content) == _full_range(pixels, 12)).all()


def test_a_frame_in_several_fragments() -> None:
    whole = frame("HTJ2K lossless 8")
    content = with_frame(dataset(phantom(8)), uid.HTJ2KLossless, whole)
    at = content.index(whole)
    parts = b"".join(
        b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part
        for part in (whole[:700], whole[700:] + b"\0" * (len(whole) % 2))
    )
    several = content[: at - 8] + parts + content[at + len(whole) + len(whole) % 2 :]
    assert converted(several) == stored_png(phantom(8))


@pytest.mark.parametrize("view", ["AP", "PA", "LLD", "RLD", ""])
@pytest.mark.parametrize("modality", ["CR", "DX", "OT"])
def test_frontal_radiographs_are_read(view: str, modality: str) -> None:
    content = encoded(dataset(phantom(8), ViewPosition=view, Modality=modality))
    assert converted(content) == stored_png(phantom(8))


def _view_code(meaning: str) -> Callable[[], bytes]:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeMeaning = meaning
    return lambda: encoded(dataset(phantom(8), ViewCodeSequence=[item]))


def _with(**elements: Any) -> Callable[[], bytes]:
    return lambda: encoded(dataset(phantom(8), **elements))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_with(Modality="CT"), "a DICOM of modality 'CT': no projection radiograph"),
        (_with(Modality="MG"), "modality 'MG'"),
        (_with(ViewPosition="LL"), "lateral (LL) view: only frontal radiographs are read"),
        (_with(ViewPosition="RLO"), "oblique (RLO) view"),
        (_view_code("left lateral"), "lateral (left lateral) view"),
        (_with(NumberOfFrames=2), "2 frames: no single radiograph"),
        (_with(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "a coloured DICOM (RGB)"),
        (_with(PhotometricInterpretation="PALETTE COLOR"), "a coloured DICOM (PALETTE COLOR)"),
        (_with(PhotometricInterpretation=None), "without PhotometricInterpretation (0028,0004)"),
        (_with(BitsAllocated=32), "32 bits a pixel, and only 8 and 16 are read"),
        (_with(BitsAllocated=1), "1 bits a pixel"),
    ],
)
def test_what_is_no_frontal_radiograph_is_left_out_with_the_reason(
    make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(UnusableImageError) as caught:
        dicom.header(make())
    assert reason in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_a_decubitus_is_frontal() -> None:
    content = _view_code("left lateral decubitus")()
    assert converted(content) == stored_png(phantom(8))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: from_frame("JPEG extended 12", BitsStored=10, HighBit=9), "says 10 bits"),
        (lambda: from_frame("JPEG extended 12", BitsStored=16, HighBit=15), "says 16 bits"),
        (lambda: from_frame("HTJ2K lossless 16", BitsStored=12, HighBit=11), "says 12 bits"),
        (lambda: from_frame("HTJ2K lossless 16", PixelRepresentation=1), "says signed bits"),
        (lambda: from_frame("JPEG lossless 12", HighBit=15), "up to bit 15"),
        (lambda: from_frame("HTJ2K 8", Columns=61), "says 61×48 pixels, and its compressed"),
        (lambda: from_frame("HTJ2K 8", Rows=65535), "says 60×65535 pixels, and its compressed"),
    ],
)
def test_where_header_and_stream_disagree_nobody_guesses(
    make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(UnusableImageError) as caught:
        converted(make())
    assert reason in str(caught.value)


@pytest.mark.parametrize("syntax", ["JPEG lossless", "JPEG-LS", "JPEG baseline"])
def test_without_the_extra_its_name_is_said(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(dataset(phantom(8)), syntax)
    monkeypatch.setattr(pylibjpeg, "_LIBJPEG_SYNTAXES", [])
    for one in dicom_pixels._LIBJPEG:
        monkeypatch.setattr(get_decoder(one), "_available", {})
    with pytest.raises(UnusableImageError, match=r"pip install 'cxr-tfx\[dicom-jpeg\]'"):
        converted(content)
    for plain in (*PLAIN, "RLE", "JPEG 2000 lossless"):
        assert converted(encoded(dataset(phantom(8)), plain)) == stored_png(phantom(8))


def test_the_extra_is_one() -> None:
    from importlib.metadata import metadata

    assert dicom_pixels.EXTRA in (metadata("cxr-tfx").get_all("Provides-Extra") or [])


def test_the_version_names_converter_and_decoders() -> None:
    import pydicom

    assert dicom.version().startswith(f"DICOM 2 (pydicom {pydicom.__version__}, pylibjpeg-libjpeg ")
    content = encoded(dataset(phantom(8)))
    assert conversion.converter_of(content) is dicom
    assert prepared(content, 12) == stored_png(phantom(8))
