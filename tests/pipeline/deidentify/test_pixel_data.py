"""Around the pixels nothing is left, and the pixels stay as they were."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from pipeline.deidentify.burned_in import find_text
from pipeline.deidentify.pixel_data import clean_pixel_data, without_texts
from tests.pipeline.deidentify.radiographs import compressed, pixels, radiograph

LITTLE = ExplicitVRLittleEndian


def decoded(stream: bytes) -> np.ndarray:
    with Image.open(BytesIO(stream)) as image:
        return np.asarray(image)


def test_bits_above_those_stored_are_cleared() -> None:
    source, counts = radiograph(), Counter[str]()
    source.PixelData = (pixels() | 0x9000).tobytes()
    clean_pixel_data(source, LITTLE, counts)
    assert source.PixelData == pixels().tobytes()
    assert counts["images with bits above those stored, removed"] == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_pixels_keep_their_sign(order: str) -> None:
    values = np.array([-2048, -1, 0, 1, 2047] * 4, f"{order}i2").reshape(4, 5)
    source = radiograph(Rows=4, Columns=5, PixelRepresentation=1)
    dirty = (values & 0x0FFF) | 0x5000
    source.PixelData = dirty.astype(values.dtype).tobytes()
    clean_pixel_data(source, LITTLE if order == "<" else ExplicitVRBigEndian, Counter())
    assert source.PixelData == values.tobytes()


def test_what_stands_behind_the_pixels_goes() -> None:
    source, counts = radiograph(), Counter[str]()
    source.PixelData = pixels().tobytes() + b"Mueller "
    clean_pixel_data(source, LITTLE, counts)
    assert source.PixelData == pixels().tobytes()
    assert counts["images with bytes behind the pixels, removed"] == 1


def test_a_file_that_is_cut_off_is_refused() -> None:
    source = radiograph()
    source.PixelData = pixels().tobytes()[:-2]
    with pytest.raises(ValueError, match="cut off: 18430 bytes of pixels, and 18432"):
        clean_pixel_data(source, LITTLE, Counter())


def test_comments_in_a_jpeg_go_and_its_pixels_stay() -> None:
    source, counts = compressed(), Counter[str]()
    before = decoded(next(generate_frames(source.PixelData, number_of_frames=1)))
    clean_pixel_data(source, JPEGBaseline8Bit, counts)
    (frame,) = generate_frames(source.PixelData, number_of_frames=1)
    assert b"Mueller" not in source.PixelData
    assert np.array_equal(decoded(frame), before)
    assert counts["images with comments in the compressed pixels, removed"] == 1


def test_comments_in_a_jpeg_2000_go_and_its_pixels_stay() -> None:
    stream = BytesIO()
    Image.fromarray((pixels() >> 4).astype(np.uint8)).save(
        stream, "JPEG2000", no_jp2=True, comment=b"Mueller"
    )
    cleaned = without_texts(stream.getvalue())
    assert b"Mueller" in stream.getvalue() and b"Mueller" not in cleaned
    assert np.array_equal(decoded(cleaned), decoded(stream.getvalue()))


def test_frames_are_counted() -> None:
    source = compressed(NumberOfFrames="2")
    with pytest.raises(ValueError):
        clean_pixel_data(source, JPEGBaseline8Bit, Counter())


@given(st.integers(2, 400))
def test_a_stream_that_is_cut_off_before_its_pixels_is_refused(length: int) -> None:
    (frame,) = generate_frames(compressed().PixelData, number_of_frames=1)
    cut = frame[: min(length, frame.index(b"\xff\xda"))]
    with pytest.raises(ValueError, match="has no end"):
        without_texts(cut)
    with pytest.raises(ValueError, match="damaged stream"):
        without_texts(cut + b"\xff\xd9")


def test_a_stream_of_another_kind_stays() -> None:
    source = radiograph()
    source.PixelData = encapsulate([b"RLE or something"])
    clean_pixel_data(source, JPEGBaseline8Bit, Counter())
    assert b"RLE or something" in source.PixelData


def test_find_text_needs_an_image_of_some_size() -> None:
    assert find_text(np.zeros((8, 8))) == []
    assert find_text(np.zeros((100, 100))) == []
