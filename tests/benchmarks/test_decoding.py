"""The bench of decoding names each kind of file, and its images are what a request may hold."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks import decoding
from models.backbones import Backbone
from models.preprocessing import decode_and_resize


@pytest.mark.parametrize("given", [False, True])
def test_each_kind_of_file_is_measured(
    given: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoding, "measure_network", lambda *_: ("openvino-f32", 10.0))
    monkeypatch.setattr(decoding, "_SIZES", (300,))
    monkeypatch.setattr(decoding, "_IMAGES", 2)
    for index, picture in enumerate(decoding.drawn()[:2] if given else []):
        (tmp_path / f"{index}.png").write_bytes(decoding.encoded(picture, 80, "PNG"))
    data = ["--data", str(tmp_path)] if given else []
    decoding.main([*data, "--sizes", "64", "300", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    kinds = ["PNG 64", "JPEG 64", "PNG 300", "JPEG 300"]
    assert [" ".join(line.split()[:2]) for line in lines[2:6]] == kinds
    assert all(float(value) > 0 for line in lines[2:6] for value in line.split()[6:8])
    assert lines[6:] == (["2 images: 0 differ from decode_and_resize"] if given else [])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        decoding.main(["--data", str(tmp_path)])
    assert stopped.value.code == 2


def _png(mode: str) -> bytes:
    """A file of random pixels, 47 x 61."""
    rng = np.random.default_rng(3)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (61, 47), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (61, 47, 4), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_png_in_between_changes_no_byte(mode: str) -> None:
    content = _png(mode)
    assert decoding.same_bytes(content)
    assert np.ptp(decode_and_resize(content).numpy()) > 0


def test_the_networks_cost_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(row: Backbone, image_size: int) -> keras.Model:
        assert (row.name, image_size) == ("vgg16", 128)
        grey = keras.Input((256, 256, 1))
        return keras.Model(grey, keras.layers.Conv2D(2, 3, strides=8)(grey))

    monkeypatch.setattr(decoding, "build_network", build)
    engine, cost = decoding.measure_network("vgg16", 128, 1)
    assert engine.startswith("openvino-")
    assert cost > 0
