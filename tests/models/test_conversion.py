"""Images of other formats become PNGs, with the pixels that their decoders and NumPy agree on."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from common.errors import InputError
from models import conversion
from models.conversion import converted, jpeg, prepared
from models.conversion.stored_png import grey_of, stored_png
from models.deep_images import UnusableImageError
from models.preprocessing import decode_and_resize
from models.rendering import Rendering
from serving.core.limits import checked
from serving.prediction import files_in
from serving.protocol.status import ServingError
from serving.settings import Limits
from tests.dicoms import dataset, encoded, phantom

_EXIF = b"\xff\xe1"


def _picture(mode: str = "L", size: tuple[int, int] = (60, 44), seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def _jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def _luminance(content: bytes) -> NDArray[np.uint8]:
    """By TensorFlow's decoder: another libjpeg, with the inverse transform that is exact."""
    decoded = tf.io.decode_jpeg(content, channels=1, dct_method="INTEGER_ACCURATE")
    return np.asarray(decoded.numpy()[..., 0])


def _frame_at(content: bytes) -> int:
    return next(
        at for at in range(len(content)) if content[at : at + 2] in (b"\xff\xc0", b"\xff\xc2")
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_a_stored_png_is_what_went_in(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    content = stored_png(grey)
    assert (grey_of(content) == grey).all()
    assert (_pixels(content) == grey).all()
    assert (tf.io.decode_png(content).numpy()[..., 0] == grey).all()


@pytest.mark.parametrize("width", [65534, 65535, 65536, 131069, 131070])
def test_a_stored_png_of_whole_blocks(width: int) -> None:
    """Blocks of 65,535 bytes end inside, at and behind the row, which is one byte longer."""
    grey = np.arange(width, dtype=np.uint8)[np.newaxis]
    assert (tf.io.decode_png(stored_png(grey)).numpy()[..., 0] == grey).all()
    assert (grey_of(stored_png(grey)) == grey).all()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["L", "RGB"]),
    st.booleans(),
    st.integers(30, 100),
    st.integers(0, 2),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(0, 2**32 - 1),
)
def test_jpegs_pixels_are_another_decoders(
    mode: str, progressive: bool, quality: int, subsampling: int, size: tuple[int, int], seed: int
) -> None:
    image = _picture(mode, size, seed)
    content = _jpeg(image, progressive=progressive, quality=quality, subsampling=subsampling)
    assert (_pixels(converted(content)) == _luminance(content)).all()
    assert jpeg.header(content) == (*size, 8)


def test_a_jpeg_of_red_green_and_blue() -> None:
    """Without YCbCr, the luminance is computed: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    content = _jpeg(_picture("RGB"), keep_rgb=True, quality=95)
    decoded = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)
    expected = decoded @ [0.299, 0.587, 0.114]
    assert np.abs(_pixels(converted(content)) - expected).max() <= 1


def test_the_graph_sees_the_same_of_a_png_and_of_a_jpeg_without_loss() -> None:
    content = _jpeg(_picture("L", (300, 280)), quality=100)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, "PNG")
    seen = [
        decode_and_resize(tf.constant(one)).numpy()
        for one in (converted(content), buffer.getvalue())
    ]
    assert (seen[0] == seen[1]).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turn", range(0, 10))
def test_exif_turns_a_jpeg_as_viewers_do(turn: int, order: str) -> None:
    plain = _jpeg(_picture())
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 60, 0)
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, turn, 0)
    body = b"Exif\0\0" + start + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4)
    content = plain[:2] + _EXIF + struct.pack(">H", len(body) + 2) + body + plain[2:]
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert shown is not None
    assert (_pixels(converted(content)) == np.asarray(shown)).all()
    assert jpeg.header(content) == (*shown.size, 8)


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_exif_that_is_damaged_turns_nothing(exif: bytes) -> None:
    plain = _jpeg(_picture())
    body = b"Exif\0\0" + exif
    content = plain[:2] + _EXIF + struct.pack(">H", len(body) + 2) + body + plain[2:]
    assert converted(content) == converted(plain)


def test_notes_change_nothing_and_are_not_looked_into(recwarn: pytest.WarningsRecorder) -> None:
    plain = _jpeg(_picture("RGB"))
    notes = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", 2 + len(body)) + body
        for marker in (0xE1, 0xE2, 0xED, 0xFE)
        for body in (b"", b"Exif\0\0MM", b"MPF\0II*\0", b"ICC_PROFILE\0\1\1", b"\xff\xda" * 9)
    )
    assert converted(plain[:2] + notes + plain[2:]) == converted(plain)
    assert not recwarn.list


def _with_frame(marker: int, **change: int) -> Callable[[], bytes]:
    def make() -> bytes:
        content = bytearray(_jpeg(_picture()))
        at = _frame_at(bytes(content))
        content[at + 1] = marker
        for place, value in change.items():
            content[at + int(place[1:])] = value
        return bytes(content)

    return make


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _jpeg(_picture("CMYK")), "four colours (CMYK"),
        (_with_frame(0xC1, _4=12), "12 bits a sample"),
        (_with_frame(0xC3), "isn't read (lossless)"),
        (_with_frame(0xC9), "isn't read (arithmetic-coded)"),
        (_with_frame(0xC6), "isn't read (hierarchical)"),
        (_with_frame(0xF7), "isn't read (JPEG-LS)"),
        (_with_frame(0xC0, _9=2), "2 components"),
        (_with_frame(0xC0, _5=0, _6=0), "60×0 pixels"),
        (_with_frame(0xE5), "no header with its size"),
        (lambda: _jpeg(_picture())[:60], "ends inside the JPEG header"),
        (lambda: _jpeg(_picture())[:-200], "truncated"),
        (lambda: _jpeg(_picture())[:-2] + b"\xff\xda\0\2" * 300 + b"\xff\xd9", "256 scans"),
        (_with_frame(0xC0, _5=255, _6=255, _7=255, _8=255), "claims 65535×65535 pixels"),
    ],
)
def test_what_is_not_read_says_why(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        converted(make())
    assert reason in str(caught.value)
    assert not str(caught.value).endswith(".")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damage_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(_jpeg(_picture(), progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(3, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(3, len(content)))]
    try:
        png = converted(bytes(content), max_pixels=10**6)
    except UnusableImageError:
        return
    width, height, _ = jpeg.header(bytes(content))
    assert _pixels(png).shape == (height, width)


def test_what_lies_between_segments_is_passed_over() -> None:
    buffer = io.BytesIO()
    Image.fromarray(phantom(8)).save(buffer, "JPEG")
    content = buffer.getvalue()
    between = b"\x00junk\xff\x00\xff\xd0\x07\xff\xff"
    assert jpeg.header(content[:2] + between + content[2:]) == jpeg.header(content)


def test_megabytes_of_nothing_take_no_seconds() -> None:
    """A byte at a time, these took ten."""
    content = b"\xff\xd8\xff" + bytes(64 << 20)
    began = time.process_time()
    with pytest.raises(UnusableImageError, match="inside the JPEG header"):
        jpeg.header(content)
    assert time.process_time() - began < 3


def test_a_png_stays_as_it_is_and_what_nobody_converts_too() -> None:
    png = stored_png(np.zeros((2, 3), np.uint8))
    for content in (png, b"", b"GIF89a", b"hello"):
        assert converted(content) is content
    assert conversion.converter_of(png) is None
    assert prepared(png, 0) is png


def test_the_version_names_converter_and_decoder() -> None:
    import PIL

    assert jpeg.version().startswith("JPEG 1 (Pillow ")
    assert PIL.__version__ in jpeg.version()


def test_the_server_converts_as_training_does() -> None:
    content, png = _jpeg(_picture()), stored_png(np.zeros((40, 40), np.uint8))
    inputs = {"images": np.array([content, png], np.object_)}
    ready = checked(inputs, Limits())["images"]
    assert ready[0] == converted(content)
    assert ready[1] is png
    broken = {"images": np.array([png, content[:-99]], np.object_)}
    with pytest.raises(ServingError, match=r"images: image 1: cannot be decoded: truncated"):
        checked(broken, Limits())
    with pytest.raises(ServingError, match=r"image 0 has 2640 pixels, and this server takes 99"):
        checked(inputs, Limits(pixels=99))


def test_the_server_converts_dicom_as_training_does() -> None:
    pixels = phantom(12)
    content = encoded(dataset(pixels, 12, WindowCenter=[900, 3000], WindowWidth=[500, 500]))
    for window in (1, 2):
        rendering = Rendering(window)
        ready = checked({"images": np.array([content], np.object_)}, Limits(), rendering)
        assert ready["images"][0] == converted(content, rendering=rendering)
    lateral = encoded(dataset(pixels, 12, ViewPosition="LL"))
    with pytest.raises(ServingError, match="image 0: a DICOM of lateral"):
        checked({"images": np.array([lateral], np.object_)}, Limits())
    with pytest.raises(ServingError, match="claims 60×48 pixels, more than 99"):
        checked({"images": np.array([content], np.object_)}, Limits(pixels=99))


def test_pixels_that_look_like_a_jpeg_are_a_dicoms() -> None:
    """The server asks what an image claims, and finds images within tf.Examples."""
    pixels = np.zeros((40, 40), np.uint8)
    claim = b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00"
    pixels.reshape(-1)[: len(claim)] = np.frombuffer(claim, np.uint8)
    ready = checked({"images": np.array([encoded(dataset(pixels))], np.object_)}, Limits())
    assert ready["images"][0] == stored_png(pixels)


def test_a_study_is_found_by_content(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "series").mkdir(parents=True)
    content = encoded(dataset(phantom(8)))
    for name in ("series/IM0001", "b.dcm", "DICOMDIR", "series/.hidden"):
        (study / name).write_bytes(content)
    (study / "notes").write_text("hello", encoding="utf-8")
    assert files_in([study]) == [study / "b.dcm", study / "series/IM0001"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no image .*\.dicom"):
        files_in([tmp_path / "empty"])
