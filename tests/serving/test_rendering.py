"""A model that learned with another window is asked with it: REST, gRPC and `cxr predict`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from common.errors import InputError
from common.runtime import prepare_environment
from models.conversion import converted
from models.rendering import AskedRendering, Rendering, note_text
from schema import contract
from serving.client import Client
from serving.local_client import predict_files
from serving.prediction import Prediction
from serving.process import free_port
from serving.servables.loading import load_servable
from serving.servables.servable import Servable
from tests.dicoms import dataset, encoded, phantom
from tests.serving.conftest import Cxr
from tests.serving.in_thread import ThreadServer, server_in_thread

prepare_environment()

WINDOWS = {"WindowCenter": [900, 3000], "WindowWidth": [500, 800]}
# What each model learned with; None: it was pushed before that was noted.
LEARNED = {"second": Rendering(2), "before": None}


def write_mean(version: Path, learned: Rendering | None) -> None:
    """A model whose probability is the mean grey level."""
    import tensorflow as tf

    class Mean(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def answer(self, image_bytes: Any) -> dict[str, Any]:
            def one(content: Any) -> Any:
                grey = tf.io.decode_png(content, channels=1)
                return tf.reduce_mean(tf.cast(grey, tf.float32)) / 255

            bright = tf.map_fn(one, image_bytes, fn_output_signature=tf.float32)
            names = tf.tile(tf.constant([["bright", "dark"]]), [tf.size(bright), 1])
            return {
                contract.OUTPUT_CLASSES: names,
                contract.OUTPUT_PROBABILITIES: tf.stack([bright, 1 - bright], axis=1),
                contract.OUTPUT_PREDICTED: names[:, 0],
                contract.OUTPUT_ABSTAIN: tf.zeros_like(bright, tf.bool),
            }

    tf.saved_model.save(mean := Mean(), str(version), signatures=mean.answer)
    if learned is not None:
        note = version / contract.RENDERING_NOTE_FILE
        note.parent.mkdir(exist_ok=True)
        note.write_text(note_text(learned.to_json()))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    for name, learned in LEARNED.items():
        write_mean(folder / name / "1", learned)
    return folder


@pytest.fixture(scope="module")
def own_server(model_dir: Path) -> Iterator[ThreadServer]:
    def load(version: Path) -> Servable:
        return load_servable(version, "tensorflow")

    with server_in_thread(load, model_dir=model_dir, grpc_port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "a.dcm"
    file.write_bytes(encoded(dataset(phantom(12), 12, **WINDOWS)))
    return file


def _expected(image: Path, rendering: Rendering) -> float:
    """As ExampleGen's conversion has it."""
    import tensorflow as tf

    grey = tf.io.decode_png(converted(image.read_bytes(), rendering=rendering), channels=1)
    return float(tf.reduce_mean(tf.cast(grey, tf.float32)) / 255)


def _bright(result: object) -> float:
    assert isinstance(result, Prediction), result
    return result.probabilities["bright"]


def test_the_windows_give_other_pictures(image: Path) -> None:
    assert abs(_expected(image, Rendering(2)) - _expected(image, Rendering(1))) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("model", LEARNED)
def test_every_way_to_ask_converts_as_the_model_learned(
    model: str, own_server: ThreadServer, model_dir: Path, image: Path, cxr: Cxr, capsys: Any
) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    expected = pytest.approx(_expected(image, LEARNED[model] or Rendering()), abs=1e-6)
    content = image.read_bytes()

    instances = [{"b64": base64.b64encode(content).decode()}]
    url = f"{own_server.url}/v1/models/{model}:predict"
    answer = requests.post(url, json={"instances": instances}, timeout=60).json()
    assert answer["predictions"][0]["probabilities"][0] == expected

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    given = request.inputs[contract.INPUT_IMAGES]
    given.dtype = 7
    given.tensor_shape.dim.add().size = 1
    given.string_val.append(content)
    with grpc.insecure_channel(own_server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=60).outputs
    assert tf.make_ndarray(outputs[contract.OUTPUT_PROBABILITIES])[0, 0] == expected

    (result,) = predict_files([image], model_dir, model)
    assert _bright(result) == expected
    # TensorFlow Serving converts nothing, so the client does, as the server says.
    (result,) = Client(own_server.url, model).predict_files([image])
    assert _bright(result) == expected
    for where in (("--model-dir", model_dir), ("--url", own_server.url)):
        assert cxr("predict", image, *where, "--model", model, "--json") == 0
        (said,) = json.loads(capsys.readouterr().out)
        assert said["probabilities"]["bright"] == expected


@pytest.mark.slow
def test_a_flag_wins_and_the_difference_is_said(
    own_server: ThreadServer, model_dir: Path, image: Path, cxr: Cxr, capsys: Any, caplog: Any
) -> None:
    expected = pytest.approx(_expected(image, Rendering(1)), abs=1e-6)
    for where in (("--model-dir", model_dir), ("--url", own_server.url)):
        caplog.clear()
        words = ("predict", image, *where, "--model", "second", "--dicom-window", "1", "--json")
        assert cxr(*words) == 0
        (said,) = json.loads(capsys.readouterr().out)
        assert said["probabilities"]["bright"] == expected
        (warning,) = (r.getMessage() for r in caplog.records if r.name == "cxr.rendering")
        assert "by dicom_window 1 and" in warning
        assert "own is dicom_window 2 and" in warning


@pytest.mark.slow
def test_the_server_says_how_and_of_whom_it_knows_nothing(own_server: ThreadServer) -> None:
    answer = requests.get(f"{own_server.url}/cxr/rendering/second", timeout=60)
    assert answer.json() == {"dicom_window": 2, "dicom_percentile": 0.0}
    assert requests.get(f"{own_server.url}/cxr/rendering/none", timeout=60).status_code == 404


def test_a_server_loads_with_its_flags_where_they_are_given(model_dir: Path) -> None:
    version = model_dir / "second" / "1"
    assert load_servable(version, "tensorflow").rendering == Rendering(2)
    asked = AskedRendering(percentile=1.0)
    assert load_servable(version, "tensorflow", rendering=asked).rendering == Rendering(2, 1.0)
    assert load_servable(model_dir / "before" / "1", "tensorflow").rendering == Rendering()


def test_a_damaged_note_is_no_default(tmp_path: Path) -> None:
    write_mean(tmp_path / "1", Rendering(2))
    (tmp_path / "1" / contract.RENDERING_NOTE_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"cxr_rendering\.json"):
        load_servable(tmp_path / "1", "tensorflow")
