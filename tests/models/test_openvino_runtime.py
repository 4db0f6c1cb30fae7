"""Conversion of a graph: what it captured is looked up, and found to be what a search finds."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from models import openvino_runtime  # noqa: E402
from models.openvino_runtime import (  # noqa: E402
    convert,
    cpu_name,
    has_int8,
    import_openvino,
    low_precision,
)
from serving.networks.parts import take_apart  # noqa: E402


class _Network(tf.Module):
    """Captures variables of two types, one of them twice, and a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernels = [
            tf.Variable(rng.normal(size=(3, 3, 1 if i == 0 else 4, 4)), dtype=tf.float32)
            for i in range(3)
        ]
        self.shift = tf.Variable(2, dtype=tf.int32)
        self.scale = tf.constant(rng.normal(size=4), tf.float32)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, 16, 16, 1], tf.float32)])
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        for kernel in self.kernels:
            image = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
        image += tf.cast(self.shift * self.shift, tf.float32)
        return {"flat": tf.reduce_mean(image, (1, 2)) * self.scale}


def _decoder() -> Any:
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    return TFGraphNodeDecoder


@pytest.mark.parametrize(
    ("flags", "int8", "listed"),
    [
        ("avx2 avx512f avx512_bf16", False, ["avx512_bf16"]),
        ("avx2 avx_vnni", True, ["avx_vnni"]),
        ("avx512_vnni sse", True, ["avx512_vnni"]),
        ("amx_tile amx_int8 amx_bf16", True, ["amx_bf16", "amx_int8"]),
        ("", False, []),
    ],
)
def test_int8_is_where_vnni_or_amx_is(
    flags: str, int8: bool, listed: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: A CPU @ 2: fast\nflags\t\t: fpu {flags}\n")
    assert (has_int8(file), low_precision(file)) == (int8, listed)
    assert cpu_name(file) == "A CPU @ 2: fast"
    assert not has_int8(tmp_path / "none")
    assert (low_precision(tmp_path / "none"), cpu_name(tmp_path / "none")) == ([], "")


def test_nncf_reports_nothing_and_draws_nothing() -> None:
    # In a process of its own: under pytest NNCF reports nothing in any case.
    code = (
        "from models.openvino_runtime import import_nncf\n"
        "assert import_nncf() is import_nncf()\n"
        "from nncf.common.logging.track_progress import track\n"
        "from nncf.telemetry.wrapper import NNCFTelemetry, telemetry\n"
        "print(isinstance(telemetry, NNCFTelemetry), list(track([1, 2], description='Drawn')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False [1, 2]\n", done.stderr


def test_a_converted_network_is_the_one_that_openvino_makes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = _Network()
    traced = network.__call__.get_concrete_function()
    fast = convert(traced)
    monkeypatch.setattr(openvino_runtime, "_variables_found_at_once", contextlib.nullcontext)
    alone = convert(traced)
    compiled = (
        import_openvino().Core().compile_model(fast, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    image = np.random.default_rng(1).normal(size=(1, 16, 16, 1)).astype(np.float32)
    np.testing.assert_allclose(
        compiled([image])[0], network(tf.constant(image))["flat"].numpy(), rtol=1e-4, atol=1e-5
    )
    # The digest of all operations, attributes and constants.
    found, expected = (take_apart(model, "0" * 64) for model in (fast, alone))
    assert [part.key for part in found.trunks] == [part.key for part in expected.trunks]
    assert found.trunks[0].key != "0" * 64


def test_each_variable_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _Network()
    traced = network.__call__.get_concrete_function()
    read: list[str] = []
    original = type(network.shift).read_value_no_copy

    def noted(variable: Any) -> Any:
        read.append(variable.name)
        return original(variable)

    monkeypatch.setattr(type(network.shift), "read_value_no_copy", noted)
    convert(traced)
    assert len(read) == len(network.kernels) + 1


def test_openvino_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    search, network = _decoder().get_variable, _Network()
    traced = network.__call__.get_concrete_function()
    convert(traced)
    assert _decoder().get_variable is search
    monkeypatch.setattr(import_openvino(), "convert_model", None)
    with pytest.raises(TypeError):
        convert(traced)
    assert _decoder().get_variable is search
