"""OpenVINO's features are TensorFlow's, whatever is around an image; and what is without it."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models import engines
from models.backbones import build_network, get_backbone
from models.engines import (
    OPENVINO_BF16,
    OPENVINO_F32,
    TENSORFLOW,
    EngineName,
    OpenVinoEngine,
    TensorFlowEngine,
    converted,
    load_engine,
)
from models.openvino_runtime import convert, gains_by_bf16, has_bf16, import_openvino
from schema import contract

if TYPE_CHECKING:
    import keras

    from models.boundary import CutNetwork

SIDE = contract.IMAGE_SIZE
ROOT = Path(__file__).parents[2]
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
both = pytest.mark.parametrize(
    "engine", [OPENVINO_F32, pytest.param(OPENVINO_BF16, marks=needs_bf16)]
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """uint8 [13, 256, 256, 1]: noise of several kinds, no two alike."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 20 * (n + 1), (SIDE, SIDE, 1)) for n in range(12)]
    return np.stack([*noise, np.zeros((SIDE, SIDE, 1))]).astype(np.uint8)


@pytest.fixture(scope="module")
def similar() -> keras.Model:
    """A network with outputs of one shape that differ in what they hold, named out of order."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 1), name="grey")
    x = keras.layers.Rescaling(1 / 255)(image)
    one = keras.layers.Conv2D(6, 7, strides=4, activation="relu")(x)
    two = keras.layers.Conv2D(6, 5, strides=4, activation="relu")(one)
    mean, largest = keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D
    zeta = mean()(one)
    outputs = {
        "zeta": zeta,
        "map_input": keras.layers.Identity()(image),
        "alpha": mean()(two),
        "zeta_max": largest()(one),
        "mid": largest()(two),
        "twin": zeta,
    }
    return keras.Model(image, outputs)


def _names(network: keras.Model) -> list[str]:
    return list(network.output)


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A cosine for each image."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (one, other))
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [(OPENVINO_F32, 1e-5), pytest.param(OPENVINO_BF16, 1e-2, marks=needs_bf16)],
)
def test_every_output_has_its_own_name(
    similar: keras.Model, images: np.ndarray, engine: EngineName, tolerance: float
) -> None:
    wanted = TensorFlowEngine(similar)(images)
    found = OpenVinoEngine(converted(similar), _names(similar), engine)(images)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        scale = np.abs(values).max()
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, atol=tolerance * scale, err_msg=name)
        for other in wanted.keys() - {name, "twin", "zeta", "map_input"}:
            if wanted[other].shape == values.shape:
                assert np.abs(wanted[other] - values).max() > 2 * tolerance * scale
    np.testing.assert_array_equal(found["map_input"], images)


def test_an_output_that_openvino_does_not_know_is_an_error(similar: keras.Model) -> None:
    with pytest.raises(RuntimeError, match="none_such"):
        OpenVinoEngine(converted(similar), [*_names(similar), "none_such"], OPENVINO_F32)


@both
@pytest.mark.parametrize("boundary", ["head", "block2"])
def test_features_of_the_tiny_network(
    tiny_cut: Callable[..., CutNetwork], images: np.ndarray, boundary: str, engine: EngineName
) -> None:
    cut = tiny_cut(boundary)
    wanted = TensorFlowEngine(cut.prefix)(images)
    found = load_engine(engine, cut.prefix, list(cut.features))
    assert found.name == engine
    for name, values in found(images).items():
        assert values.shape == (len(images), *cut.features[name].shape)
        assert _cosines(values, wanted[name]).min() > 0.999


@both
def test_features_of_a_network_that_sees_the_image_smaller(
    tiny_backbone: str, images: np.ndarray, engine: EngineName
) -> None:
    from models.boundary import cut

    row = get_backbone(tiny_backbone)
    frozen = cut(build_network(row, image_size=128), row, "head")
    _assert_same_features(frozen.prefix, images, engine)


@both
def test_features_of_every_kind_of_layer(
    mixed_network: keras.Model, images: np.ndarray, engine: EngineName
) -> None:
    _assert_same_features(mixed_network, images, engine)


@pytest.mark.long
@both
def test_features_of_a_real_network_with_random_weights(
    real_network: Callable[[str], keras.Model], images: np.ndarray, engine: EngineName
) -> None:
    from models.boundary import cut

    row = get_backbone("densenet121")
    frozen = cut(real_network("densenet121"), row, "head", row.all_taps)
    # Two kinds of noise.
    _assert_same_features(frozen.prefix, images[::7], engine)


def _assert_same_features(network: keras.Model, images: np.ndarray, engine: EngineName) -> None:
    wanted = TensorFlowEngine(network)(images)
    found = OpenVinoEngine(converted(network), _names(network), engine)(images)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert _cosines(found[name], values).min() > 0.999, name


def _sizes(images: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    starts = itertools.accumulate(sizes, initial=0)
    return (images[start : start + size] for start, size in zip(starts, sizes, strict=False))


@both
def test_neighbours_threads_and_streams_change_no_bit(
    tiny_cut: Callable[..., CutNetwork], images: np.ndarray, engine: EngineName
) -> None:
    cut = tiny_cut("block2")
    ours = OpenVinoEngine(converted(cut.prefix), list(cut.features), engine)
    (whole,) = ours.stream([images])
    for sizes in ([1] * 13, [8, 5], [2, 1, 10], [12, 1]):
        parts = list(ours.stream(_sizes(images, sizes)))
        assert [len(part["block1"]) for part in parts] == sizes
        for name, values in whole.items():
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), values)
    order = np.random.default_rng(3).permutation(len(images))
    for name, values in ours(images[order]).items():
        np.testing.assert_array_equal(values, whole[name][order])
    # One image over all cores, instead of one image a core.
    openvino = import_openvino()
    alone = openvino.Core().compile_model(
        engines.converted(cut.prefix),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": engines.PRECISIONS[engine],
        },
    )
    result = alone({0: images[:1].astype(np.float32)})
    for name, values in whole.items():
        np.testing.assert_array_equal(result[alone.output(name)], values[:1])


def test_threads_may_stream_at_once(
    tiny_cut: Callable[..., CutNetwork], images: np.ndarray
) -> None:
    cut = tiny_cut()
    ours = OpenVinoEngine(converted(cut.prefix), list(cut.features), OPENVINO_F32)
    wanted = ours(images)["last"]
    orders = [np.random.default_rng(n).permutation(len(images)) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda order: ours(images[order])["last"], orders * 5))
    for order, values in zip(orders * 5, found, strict=True):
        np.testing.assert_array_equal(values, wanted[order])


def test_a_stream_takes_no_more_than_it_keeps_in_flight(
    tiny_cut: Callable[..., CutNetwork], images: np.ndarray
) -> None:
    cut = tiny_cut()
    ours = OpenVinoEngine(converted(cut.prefix), list(cut.features), OPENVINO_F32)
    taken = []

    def endless() -> Iterator[np.ndarray]:
        for number in itertools.count():
            taken.append(number)
            yield images[number % len(images)][np.newaxis]

    stream = ours.stream(endless())
    first = next(stream)
    assert 1 < len(taken) <= ours._in_flight + 1
    np.testing.assert_array_equal(first["last"], ours(images[:1])["last"])
    for _ in range(5):
        next(stream)
    assert len(taken) <= ours._in_flight + 6
    # Left with images in flight, as by an error while records are written.
    stream.close()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first["last"], ours(images[:1])["last"])


def _fail(*_: Any) -> None:
    raise RuntimeError("no translator found for op")


@pytest.mark.parametrize(
    "fault",
    [
        lambda patch: patch.setitem(sys.modules, "openvino", None),
        lambda patch: patch.setattr(engines, "converted", _fail),
    ],
    ids=["missing", "refuses"],
)
def test_without_openvino_it_is_tensorflow_and_the_log_says_so(
    tiny_cut: Callable[..., CutNetwork],
    images: np.ndarray,
    fault: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = tiny_cut()
    fault(monkeypatch)
    with caplog.at_level("WARNING", logger="absl"):
        engine = load_engine(OPENVINO_F32, cut.prefix, list(cut.features))
    assert engine.name == TENSORFLOW
    (record,) = caplog.records
    assert "TensorFlow does" in record.getMessage()
    found = engine(images[:2])
    assert {name: values.shape for name, values in found.items()} == {
        name: (2, *spec.shape) for name, spec in cut.features.items()
    }


def test_where_bf16_is_missing_it_is_f32(
    tiny_cut: Callable[..., CutNetwork],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = tiny_cut()
    monkeypatch.setattr(engines, "has_bf16", lambda: False)
    with caplog.at_level("WARNING", logger="absl"):
        assert load_engine(OPENVINO_BF16, cut.prefix, list(cut.features)).name == OPENVINO_F32
    assert "no bf16" in caplog.text


def test_a_network_that_computes_nothing_is_no_work_for_openvino(
    tiny_cut: Callable[..., CutNetwork], images: np.ndarray
) -> None:
    cut = tiny_cut("input")
    engine = load_engine(OPENVINO_BF16, cut.prefix, list(cut.features))
    assert engine.name == TENSORFLOW
    np.testing.assert_array_equal(engine(images)["map_input"], images)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16", True),
        ("avx512f amx_bf16 amx_tile", True),
        ("avx512f avx512_bf16x", False),
        ("avx avx2 avx512f", False),
        ("", False),
    ],
)
def test_bf16_is_what_the_kernel_lists(tmp_path: Path, flags: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"model name\t: avx512_bf16\nflags\t\t: {flags}\nbugs\t: x\n")
    assert has_bf16(file) is expected
    assert not has_bf16(tmp_path / "none")


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("AuthenticAMD", "avx avx2 avx512f", False),
    ],
)
def test_bf16_is_taken_where_it_was_measured_to_gain(
    tmp_path: Path, vendor: str, flags: str, expected: bool
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    assert gains_by_bf16(file) is expected
    assert not gains_by_bf16(tmp_path / "none")


_SILENT = """
import socket, sys

def refuse(*arguments, **_):
    raise SystemExit(f"a connection was tried: {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

from common.runtime import prepare_environment
prepare_environment()
import keras
from models.engines import OPENVINO_F32, OpenVinoEngine, converted
image = keras.Input((256, 256, 1))
network = keras.Model(image, {"x": keras.layers.Conv2D(2, 3)(image)})
OpenVinoEngine(converted(network), ["x"], OPENVINO_F32)
loaded = [name for name, module in sys.modules.items() if "telemetry" in name and module]
print([name for name in loaded if name.split(".")[0] == "openvino_telemetry"])
"""


def test_openvino_reports_to_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Nothing in the home folder, where its telemetry keeps an id, nor among temporary files."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "KERAS_HOME")}
    for place in places.values():
        place.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", _SILENT],
        cwd=ROOT,
        env=os.environ | {name: str(place) for name, place in places.items()},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
    assert [*places["HOME"].iterdir(), *places["TMPDIR"].iterdir()] == []


def test_a_conversion_that_fails_leaves_the_log_as_it_was() -> None:
    """OpenVINO itself leaves the level at ERROR then, and a server's log would end there."""
    pytest.importorskip("openvino")
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with pytest.raises(Exception, match=r".+"):
        convert(object())
    assert (root.level, root.filters, root.handlers) == before
