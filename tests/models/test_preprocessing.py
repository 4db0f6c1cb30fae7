"""The preprocessing graph against Pillow's grey conversion and antialiased resize."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.preprocessing import decode_and_resize, decode_transformed, preprocessing_fn
from schema import contract

Encode = Callable[..., bytes]
SIZE = 256


def _noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _picture(seed: int, width: int = 300, height: int = 280) -> Image.Image:
    """A colour picture that is smooth, as JPEG and a palette want it."""
    return Image.fromarray(_noise(seed, 9, 9, 3)).resize((width, height), Image.Resampling.BICUBIC)


def _reference(grey: Image.Image) -> np.ndarray:
    """Pillow's bilinear resize, which always has an anti-aliasing kernel."""
    return np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)


def _decode(data: bytes) -> np.ndarray:
    pixels = decode_and_resize(tf.constant(data))
    assert pixels.dtype == tf.uint8
    assert pixels.shape == (SIZE, SIZE, 1)
    return pixels.numpy()[..., 0].astype(int)


# Grey levels by which a result may differ from Pillow's: 1 is the two roundings of the
# resize; colour's weighted sum and JPEG's inverse transform are one rounding more each.
@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [
        ("L", "PNG", 1),
        ("LA", "PNG", 1),
        ("1", "PNG", 1),
        ("RGB", "PNG", 2),
        ("RGBA", "PNG", 2),
        ("P", "PNG", 2),
        ("L", "JPEG", 2),
        ("RGB", "JPEG", 3),
    ],
)
def test_every_mode_becomes_pillows_grey(
    mode: str, kind: str, tolerance: int, encode: Encode
) -> None:
    picture = _picture(1).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(_noise(2, 280, 300)))
    data = encode(picture, kind)
    opened = Image.open(io.BytesIO(data))
    assert (opened.mode, opened.format) == (mode, kind)
    # Alpha is dropped, not blended with a background.
    grey = opened.getchannel(0) if mode == "LA" else opened.convert("RGB").convert("L")
    assert np.abs(_decode(data) - _reference(grey)).max() <= tolerance


def test_a_palette_with_a_transparent_colour_keeps_that_colour(encode: Encode) -> None:
    data = encode(_picture(3).convert("P"), transparency=5)
    expected = _reference(Image.open(io.BytesIO(data)).convert("RGB").convert("L"))
    assert np.abs(_decode(data) - expected).max() <= 2


def test_colour_has_the_weights_of_human_sight(encode: Encode) -> None:
    colours = np.zeros((SIZE, SIZE, 3), np.uint8)
    for channel in range(3):
        colours[:, channel * 80 : (channel + 1) * 80, channel] = 255
    pixels = _decode(encode(colours))
    np.testing.assert_allclose(pixels[0, [40, 120, 200, 250]], [76, 150, 29, 0], atol=1)


@pytest.mark.parametrize("side", [SIZE, 400])
def test_16_bit_keeps_the_high_byte(side: int, encode: Encode) -> None:
    deep = np.random.default_rng(4).integers(0, 1 << 16, (side, side), dtype=np.uint16)
    data = encode(deep)
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    expected = _reference(Image.fromarray((deep >> 8).astype(np.uint8)))
    assert np.abs(_decode(data) - expected).max() <= (0 if side == SIZE else 1)


@settings(max_examples=12)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 1 << 16))
def test_any_size_is_resized_as_pillow_does(width: int, height: int, seed: int) -> None:
    picture = Image.fromarray(_noise(seed, height, width))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert np.abs(_decode(buffer.getvalue()) - _reference(picture)).max() <= 1


def test_a_fine_pattern_is_averaged_instead_of_sampled(encode: Encode) -> None:
    row = np.arange(1024) // 2 % 2
    checkerboard = ((row[:, None] ^ row) * 255).astype(np.uint8)
    inside = _decode(encode(checkerboard))[4:-4, 4:-4]
    assert inside.min() >= 120
    assert inside.max() <= 135


def test_a_grey_image_of_the_right_size_is_unchanged(encode: Encode) -> None:
    pixels = _noise(5, SIZE, SIZE)
    np.testing.assert_array_equal(_decode(encode(pixels)), pixels)


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_constant_image_stays_constant(level: int, encode: Encode) -> None:
    for side in (31, 300):
        assert (_decode(encode(np.full((side, side + 1), level, np.uint8))) == level).all()


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_bytes_that_are_no_image_are_an_invalid_argument(data: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_and_resize(tf.constant(data))


def test_a_truncated_image_is_an_invalid_argument(encode: Encode) -> None:
    data = encode(_noise(6, 64, 64))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_and_resize(tf.constant(data[: len(data) // 2]))


def _inputs(images: list[bytes], *, column: bool) -> dict[str, tf.Tensor]:
    count = len(images)
    inputs = {
        contract.IMAGE: tf.constant(images, tf.string),
        contract.LABEL: tf.constant(list(range(count)), tf.int64),
        contract.LABEL_TEXT: tf.constant([f"class {i}" for i in range(count)], tf.string),
        contract.SHA256: tf.constant([f"{i:064x}" for i in range(count)], tf.string),
        contract.GROUP: tf.constant([f"{i // 2:064x}" for i in range(count)], tf.string),
    }
    return {k: v[:, tf.newaxis] for k, v in inputs.items()} if column else inputs


@pytest.mark.parametrize("column", [False, True], ids=["[batch]", "[batch, 1]"])
def test_a_batch_of_mixed_sizes_is_stored_without_loss(column: bool, encode: Encode) -> None:
    images = [
        encode(_noise(7, 256, 256)),
        encode(_noise(8, 100, 333)),
        encode(_picture(9, 640, 500), "JPEG"),
        encode(_picture(10, 1, 1)),
    ]
    outputs = preprocessing_fn(_inputs(images, column=column))
    stored = outputs[contract.TRANSFORMED_IMAGE]
    assert stored.shape == (4,)
    pixels = decode_transformed(stored)
    assert (pixels.dtype, pixels.shape) == (tf.uint8, (4, SIZE, SIZE, 1))
    for row, data in enumerate(images):
        np.testing.assert_array_equal(pixels[row], decode_and_resize(tf.constant(data)))


def test_labels_names_and_digests_are_handed_on(encode: Encode) -> None:
    images = [encode(_noise(seed, 8, 8)) for seed in range(3)]
    outputs = preprocessing_fn(_inputs(images, column=True))
    expected = _inputs(images, column=False)
    assert set(outputs) == {contract.TRANSFORMED_IMAGE} | (set(expected) - {contract.IMAGE})
    for name in (contract.LABEL, contract.LABEL_TEXT, contract.SHA256, contract.GROUP):
        np.testing.assert_array_equal(outputs[name], expected[name])
        assert outputs[name].dtype == expected[name].dtype


def test_an_empty_batch_stays_empty() -> None:
    outputs = preprocessing_fn(_inputs([], column=True))
    assert decode_transformed(outputs[contract.TRANSFORMED_IMAGE]).shape == (0, SIZE, SIZE, 1)


def test_stored_images_of_another_size_are_refused(encode: Encode) -> None:
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        decode_transformed(tf.constant([encode(_noise(11, 255, 256))]))
