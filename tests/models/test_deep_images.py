"""Unscaled 16-bit images: found, and scaled where somebody says by how many bits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.radiograph_example_gen.discovery import Candidate
from components.radiograph_example_gen.inspection import inspect_file
from components.radiograph_example_gen.settings import Limits as Inspected
from models.deep_images import UnusableImageError, scaled, unscaled
from serving.core.limits import checked
from serving.protocol.status import ServingError
from serving.settings import Limits


def _png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def twelve_bits() -> bytes:
    """Values 0..4095 in a 16-bit PNG, as a detector stores them."""
    return _png(np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16))


def _values(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(np.int64)


def test_the_whole_range_of_the_bits_becomes_the_whole_range(twelve_bits: bytes) -> None:
    assert unscaled(twelve_bits)
    ready = scaled(twelve_bits, 12)
    assert unscaled(ready) is None
    before, after = _values(twelve_bits), _values(ready)
    assert (after.min(), after.max()) == (0, 65535)
    np.testing.assert_array_equal(after, np.rint(before * 65535 / 4095))


def test_fewer_bits_than_are_used_is_an_error(twelve_bits: bytes) -> None:
    with pytest.raises(ValueError, match=r"grey value 4095, which needs more than 10 bits"):
        scaled(twelve_bits, 10)


def test_what_needs_no_scaling_stays_byte_for_byte(twelve_bits: bytes) -> None:
    whole = _png(np.arange(64 * 64).reshape(64, 64).astype(np.uint16) * 16)
    eight = _png(np.zeros((40, 40), np.uint8))
    for content in (whole, eight, b"\xff\xd8\xff", b""):
        assert scaled(content, 12) is content
    assert scaled(twelve_bits, 0) is twelve_bits


def test_training_and_server_come_to_the_same(twelve_bits: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(twelve_bits)
    left_out = inspect_file(str(tmp_path), Candidate("x.png", "a"), Inspected())
    assert "say how many bits the detector stores (bits_stored)" in left_out.reason
    taken = inspect_file(str(tmp_path), Candidate("x.png", "a"), Inspected(bits_stored=12))
    assert (taken.reason, taken.bits_stored) == ("", 12)
    assert taken.mean == pytest.approx(127.5, abs=0.5)

    inputs = {"images": np.array([twelve_bits, b"GIF8"], np.object_)}
    with pytest.raises(ServingError, match=r"images: image 0: 16-bit PNG whose grey values use"):
        checked(inputs, Limits())
    ready = checked(inputs, Limits(bits_stored=12))["images"]
    assert ready[0] == scaled(twelve_bits, 12)
    assert ready[1] == b"GIF8"
    assert inputs["images"][0] is twelve_bits


def test_what_is_dark_though_it_was_scaled_is_not_sent_to_be_scaled(
    twelve_bits: bytes, tmp_path: Path
) -> None:
    """Training and server say it alike: twelve of fourteen bits are a quarter of the levels."""
    (tmp_path / "x.png").write_bytes(twelve_bits)
    said = (
        "16-bit PNG that is dark even after bits_stored = 14 has scaled it (its highest grey value "
        "is 4095 of 16383): check how many bits its detector stores (12 would hold these values), "
        "scale it to the full 16 bits, or save it as 8-bit"
    )
    left_out = inspect_file(str(tmp_path), Candidate("x.png", "a"), Inspected(bits_stored=14))
    assert left_out.reason == said
    with pytest.raises(ServingError) as refused:
        checked({"images": np.array([twelve_bits], np.object_)}, Limits(bits_stored=14))
    assert str(refused.value) == f"images: image 0: {said}"


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_bits_that_the_sentence_names_are_enough(bits: int) -> None:
    """The darkest image that is taken, and one that is darker by one value."""
    taken, dark = (np.full((40, 40), 2 ** (bits - 1) - less, np.uint16) for less in (0, 1))
    assert unscaled(scaled(_png(taken), bits)) is None
    with pytest.raises(UnusableImageError, match=rf"\({bits - 1} would hold these values\)"):
        scaled(_png(dark), bits)
