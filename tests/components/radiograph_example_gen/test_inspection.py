"""One bad file each, and the statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.radiograph_example_gen.discovery import Candidate
from components.radiograph_example_gen.inspection import (
    Inspection,
    decode_grey,
    inspect_file,
)
from components.radiograph_example_gen.settings import Limits


@pytest.fixture
def inspect(tmp_path: Path) -> Callable[[bytes], Inspection]:
    def run(content: bytes) -> Inspection:
        (tmp_path / "x.png").write_bytes(content)
        return inspect_file(str(tmp_path), Candidate("x.png", "a"), Limits())

    return run


def test_truncated(inspect: Callable[[bytes], Inspection], make_png: Callable[..., bytes]) -> None:
    content = make_png(1)
    for length in (10, 20, 24, len(content) // 2, len(content) - 1):
        assert "truncated" in inspect(content[:length]).reason


def test_damaged(inspect: Callable[[bytes], Inspection], make_png: Callable[..., bytes]) -> None:
    content = bytearray(make_png(1))
    content[len(content) // 2] ^= 255
    assert "damaged" in inspect(bytes(content)).reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "another kind of file"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "ends inside the JPEG header"),
        (b"II*\x00" + bytes(40), "not a PNG, JPEG or DICOM but TIFF"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "does not start with its header"),
    ],
)
def test_not_a_png(inspect: Callable[[bytes], Inspection], content: bytes, reason: str) -> None:
    assert reason in inspect(content).reason


def test_one_pixel(inspect: Callable[[bytes], Inspection], make_png: Callable[..., bytes]) -> None:
    assert "1×1 pixels: a side is below data.min_side = 32" in inspect(make_png(1, 1)).reason


@pytest.mark.parametrize(
    ("width", "height", "is_used"),
    [(32, 40, True), (40, 32, True), (31, 40, False), (40, 31, False)],
)
def test_a_side_of_exactly_the_least_is_enough_and_one_pixel_less_is_not(
    width: int,
    height: int,
    is_used: bool,
    inspect: Callable[[bytes], Inspection],
    encode: Callable[..., bytes],
) -> None:
    reason = inspect(encode(np.zeros((height, width), np.uint8))).reason
    assert reason == "" if is_used else "a side is below data.min_side" in reason


@pytest.mark.parametrize(("most", "is_used"), [(1280, True), (1279, False)])
def test_as_many_pixels_as_the_limit_are_used_and_one_more_is_not(
    most: int, is_used: bool, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    (tmp_path / "x.png").write_bytes(encode(np.zeros((32, 40), np.uint8)))
    reason = inspect_file(str(tmp_path), Candidate("x.png", "a"), Limits(max_pixels=most)).reason
    assert reason == "" if is_used else "more than data.max_pixels" in reason


def test_huge_claim_is_never_decoded(
    inspect: Callable[[bytes], Inspection],
    claim_png: Callable[[int, int], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "components.radiograph_example_gen.inspection.decode_grey"
    monkeypatch.setattr(module, lambda _: pytest.fail("decoded"))
    reason = inspect(claim_png(100_000, 100_000)).reason
    assert "claims 100000×100000 pixels, more than data.max_pixels" in reason


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_png_mode_is_used(
    inspect: Callable[[bytes], Inspection], make_png: Callable[..., bytes], mode: str
) -> None:
    outcome = inspect(make_png(1, 40, mode))
    assert outcome.reason == ""
    assert (outcome.width, outcome.height) == (40, 40)
    assert decode_grey(make_png(1, 40, mode)).shape == (40, 40)


@pytest.mark.parametrize(
    ("step", "bits", "highest"),
    # 0..255 times the step: the first has all values in the byte that decoding drops.
    [(1, 8, 255), (4, 10, 1023), (16, 12, 4095), (64, 14, 16383), (128, 15, 32767)],
)
def test_sixteen_bits_with_the_high_ones_unused(
    inspect: Callable[[bytes], Inspection],
    make_png: Callable[..., bytes],
    step: int,
    bits: int,
    highest: int,
) -> None:
    outcome = inspect(make_png(1, 40, "I;16", step))
    assert f"16-bit PNG whose grey values use at most {bits} of 16 bits" in outcome.reason
    assert f"none is above {highest} of 65535" in outcome.reason
    assert outcome.sha256


def test_sixteen_bits_with_the_highest_used(
    inspect: Callable[[bytes], Inspection], make_png: Callable[..., bytes]
) -> None:
    assert inspect(make_png(1, 40, "I;16", 129)).reason == ""
    noise = np.random.default_rng(0).integers(0, 65536, (40, 40, 4), dtype=np.uint16)
    for channels in (1, 2, 3, 4):
        content = tf.io.encode_png(noise[:, :, :channels]).numpy()
        assert content[24] == 16
        assert inspect(content).reason == ""


def test_a_dark_image_of_eight_bits_is_used(inspect: Callable[[bytes], Inspection]) -> None:
    dark = np.random.default_rng(0).integers(0, 16, (40, 40, 1), dtype=np.uint8)
    assert inspect(tf.io.encode_png(dark).numpy()).reason == ""


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "denied.png").write_bytes(b"x")
    real_open = Path.open

    def refuse(self: Path, *args: Any) -> Any:
        if self.name == "denied.png":
            raise PermissionError(13, "Permission denied")
        return real_open(self, *args)

    monkeypatch.setattr(Path, "open", refuse)
    for name, reason in (
        ("dir.png", "Is a directory"),
        ("link.png", "No such file"),
        ("denied.png", "Permission denied"),
    ):
        outcome = inspect_file(str(tmp_path), Candidate(name, "a"), Limits())
        assert reason in outcome.reason
        assert outcome.sha256 == ""


def test_json_is_exact() -> None:
    outcome = Inspection("ä\u2028.png", "a", mean=1 / 3, std=0.1, entropy=2e-17)
    assert Inspection.from_json(outcome.to_json()) == outcome
    assert "\u2028" not in outcome.to_json()
