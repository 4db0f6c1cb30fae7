"""The serving benchmark's arithmetic, and a run of it on phantoms."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from benchmarks.serving.__main__ import in_process, served, show
from benchmarks.serving.load import Load, in_a_loop, memory_mib
from models.boundary import CutNetwork
from models.classifier import BackboneModel, CalibratedHead, Classifier
from models.heads import build_head
from models.hyperparameters import HeadParams
from models.preprocessing import decode_and_resize
from models.signatures import export
from schema import contract


def test_throughput_and_percentiles() -> None:
    load = Load(2, 4.0, tuple(i / 100 for i in range(1, 101)), refused=3)
    assert load.throughput == 25.0
    assert load.percentile(50) == pytest.approx(0.505)
    assert load.percentile(99) == pytest.approx(0.9901)


def test_a_loop_takes_the_images_in_turn() -> None:
    asked: list[bytes] = []
    load = in_a_loop(asked.append, [b"a", b"b"], 0.05)
    assert len(load.latencies) == len(asked) > 2
    assert asked[:3] == [b"a", b"b", b"a"]


def test_memory_is_this_processes() -> None:
    assert 10 < memory_mib("self", "VmRSS") <= memory_mib() < 100_000


@pytest.mark.slow
def test_the_three_ways_on_a_tiny_model(
    tiny_cut: Callable[..., CutNetwork], phantom_folder: Path, tmp_path: Path
) -> None:
    """What `make bench-serving` does with each model that `cxr run` made."""
    network = tiny_cut("head")
    channels = {name: tensor.shape[-1] for name, tensor in network.suffix.output.items()}
    moments = {name: (np.zeros(size), np.ones(size)) for name, size in channels.items()}
    head = CalibratedHead(build_head(HeadParams(l2=0.01), channels, 3, moments, 0))
    model = BackboneModel(
        _transform, Classifier(network, {contract.FLAT: head}), ["a", "b", "c"], 0.0
    )
    export(model, str(tmp_path / "serving" / "tiny" / "1"))
    files = [str(file) for file in sorted(phantom_folder.rglob("*.png"))[:6]]
    ways = [in_process(tmp_path / "serving" / "tiny" / "1", files[:3], files, 1.0)]
    for engine in ("tensorflow", "openvino"):
        ways.append(served(tmp_path / "serving", "tiny", engine, files[:3], files, 1.0))
    assert [way.what.split(",")[0] for way in ways] == [
        "(a) signature in a loop",
        "(b) server",
        "(c) server",
    ]
    assert ways[1].what.endswith("tensorflow")
    assert "openvino" in ways[2].what
    for way in ways:
        assert set(way.answers) == set(files)
        assert all(load.failed == 0 and load.latencies for load in way.loads)
        assert way.memory > 100
    assert [load.clients for load in ways[2].loads] == [1, 8, 32]
    page = io.StringIO()
    show(Console(file=page, width=140), "tiny", ways, len(files))
    assert "0 other classes" in page.getvalue()
    assert page.getvalue().count("parity of") == 2


def _transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}
