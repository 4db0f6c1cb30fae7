"""Requests over REST and gRPC, and what of them is in the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from models.image_statistics import grey_statistics
from schema import contract
from serving.core.observing import Asked
from serving.prediction_log.log import PredictionLog
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.process import free_port
from serving.protocol.tensors import Tensors
from tests.dicoms import dataset, encoded, phantom
from tests.serving.in_thread import server_in_thread, until
from tests.serving.prediction_log.logged import Radiologist, ask, folder_of, png, records

pytestmark = pytest.mark.waits

Settings = Callable[..., LogSettings]


@pytest.fixture
def logged(tmp_path: Path) -> Settings:
    def make(rate: float = 1.0, **settings: object) -> LogSettings:
        return LogSettings(LogTarget(tmp_path / "predictions", rate), **settings)  # type: ignore[arg-type]

    return make


def _servable(_: Path) -> Radiologist:
    return Radiologist()


def _text(array: tf.make_tensor_proto) -> list[str]:
    return [value.decode() for value in tf.make_ndarray(array).ravel()]


def test_a_request_is_logged_without_its_pixels(tmp_path: Path, logged: Settings) -> None:
    images = [png(0), png(1, 48)]
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged()
    ) as server:
        answer = ask(server.url, *images)
        metrics = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=30).text
    (log,) = records(tmp_path)
    metadata = log.log_metadata
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("lungs", 7)
    assert metadata.sampling_config.sampling_rate == 1.0
    assert metadata.timestamp_secs > 1_600_000_000
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    request, response = log.predict_log.request, log.predict_log.response
    assert _text(request.inputs[contract.INPUT_IMAGES]) == digests
    assert _text(response.outputs[contract.SHA256]) == digests
    # As the client saw it, but for the heat map.
    first, _ = answer["predictions"]
    assert _text(response.outputs[contract.OUTPUT_PREDICTED])[0] == first["predicted_class"]
    probabilities = tf.make_ndarray(response.outputs[contract.OUTPUT_PROBABILITIES])
    assert probabilities[0].tolist() == pytest.approx(first["probabilities"])
    assert tf.make_ndarray(response.outputs[contract.OUTPUT_ABSTAIN]).tolist() == [True, True]
    assert contract.OUTPUT_HEAT_MAP not in response.outputs
    # What RadiographExampleGen computes.
    assert tf.make_ndarray(response.outputs[contract.WIDTH]).tolist() == [33, 49]
    assert tf.make_ndarray(response.outputs[contract.BYTES]).tolist() == [*map(len, images)]
    pixels = np.random.default_rng(1).integers(0, 256, (48, 49), np.uint8)
    for name, value in zip(
        (contract.MEAN, contract.STD, contract.ENTROPY), grey_statistics(pixels), strict=True
    ):
        assert tf.make_ndarray(response.outputs[name])[1] == pytest.approx(value)
    assert log.ByteSize() < 2000
    assert 'cxr_serving_answers_total{class="COVID-19",model="lungs"} 2.0' in metrics
    assert 'cxr_serving_answers_abstained_total{model="lungs"} 2.0' in metrics
    assert 'cxr_serving_model_info{engine="fake",model="lungs",version="7"} 1.0' in metrics


def test_shards_are_for_their_owner_alone(tmp_path: Path, logged: Settings) -> None:
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged()
    ) as server:
        ask(server.url, png())
    (shard,) = tmp_path.glob("*.tfrecord")
    assert shard.stat().st_mode & 0o777 == 0o600


def test_with_pixels_a_record_is_a_request_to_repeat(tmp_path: Path, logged: Settings) -> None:
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged(pixels=True)
    ) as server:
        ask(server.url, png())
    (log,) = records(tmp_path)
    assert tf.make_ndarray(log.predict_log.request.inputs[contract.INPUT_IMAGES])[0] == png()


@pytest.mark.parametrize("pixels", [False, True])
def test_a_dicoms_header_is_never_logged(tmp_path: Path, logged: Settings, pixels: bool) -> None:
    dicom = encoded(dataset(phantom(shape=(48, 40)), PatientName="Doe^Jane"))
    assert b"Doe^Jane" in dicom
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged(pixels=pixels)
    ) as server:
        ask(server.url, dicom)
    (log,) = records(tmp_path)
    assert b"Doe" not in log.SerializeToString()
    digest = hashlib.sha256(dicom).hexdigest()
    assert _text(log.predict_log.response.outputs[contract.SHA256]) == [digest]
    assert tf.make_ndarray(log.predict_log.response.outputs[contract.WIDTH]).tolist() == [40]
    (image,) = tf.make_ndarray(log.predict_log.request.inputs[contract.INPUT_IMAGES])
    assert image.startswith(b"\x89PNG") if pixels else image == digest.encode()


def test_columns_are_logged_and_free_text_is_not(tmp_path: Path, logged: Settings) -> None:
    row = {
        contract.INPUT_IMAGES: {"b64": "iVBORw0KGgo="},
        "sex": "F",
        "notes": "Jane Doe coughs",
        "crp": 12.5,
    }
    body = {"signature_name": "serve_with_table", "instances": [row]}
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged()
    ) as server:
        url = f"{server.url}/v1/models/lungs:predict"
        assert requests.post(url, json=body, timeout=30).status_code == 200
    (log,) = records(tmp_path)
    inputs = {name: tf.make_ndarray(v) for name, v in log.predict_log.request.inputs.items()}
    assert inputs["sex"].tolist() == [b"F"]
    assert inputs["crp"].tolist() == [12.5]
    assert b"Jane" not in log.SerializeToString()


def _example(**features: bytes | int | float) -> tf.train.Example:
    example = tf.train.Example()
    for name, value in features.items():
        feature = example.features.feature[name.replace("__", "/")]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return example


def test_an_example_keeps_what_names_nobody(tmp_path: Path, logged: Settings) -> None:
    example = _example(
        image__encoded=png(),
        image__path=b"ward-7/doe.png",
        patient__id=b"4711",
        patient__sex=b"F",
        patient__age=41.0,
        accession=99887766,
    )
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged()
    ) as server:
        ask(server.url, example.SerializeToString(), signature="serve_examples")
    (log,) = records(tmp_path)
    (kept,) = tf.make_ndarray(log.predict_log.request.inputs[contract.INPUT_EXAMPLES])
    features = tf.train.Example.FromString(kept).features.feature
    assert set(features) == {
        *(contract.SEX, contract.AGE, contract.SHA256, contract.BYTES),
        *(contract.WIDTH, contract.HEIGHT, contract.MEAN, contract.STD, contract.ENTROPY),
    }
    digest = hashlib.sha256(png()).hexdigest().encode()
    assert features[contract.SHA256].bytes_list.value[:] == [digest]


def test_classify_and_regress_are_logged_as_such(tmp_path: Path, logged: Settings) -> None:
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged()
    ) as server:
        for method in ("classify", "regress"):
            body = {"signature_name": method, "examples": [{"x": 20.0, "who": "Jane Doe"}]}
            url = f"{server.url}/v1/models/lungs:{method}"
            assert requests.post(url, json=body, timeout=30).status_code == 200
    classified, regressed = records(tmp_path)
    (example,) = classified.classify_log.request.input.example_list.examples
    assert example.features.feature["x"].float_list.value[:] == [20.0]
    assert "who" not in example.features.feature
    (row,) = classified.classify_log.response.result.classifications
    assert [one.label for one in row.classes] == ["COVID-19", "NORMAL", "Viral Pneumonia"]
    assert row.classes[0].score == pytest.approx(0.5)
    assert regressed.regress_log.response.result.regressions[0].value == 0.25


def test_grpc_is_logged_as_rest_is(tmp_path: Path, logged: Settings) -> None:
    port = free_port()
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged(), grpc_port=port
    ) as server:
        ask(server.url, png())
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "lungs"
        request.inputs[contract.INPUT_IMAGES].CopyFrom(tf.make_tensor_proto([png()]))
        request.output_filter.append(contract.OUTPUT_PREDICTED)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request, timeout=30)
    over_rest, over_grpc = records(tmp_path)
    (wanted,) = over_grpc.predict_log.request.output_filter
    assert wanted == contract.OUTPUT_PREDICTED
    assert contract.OUTPUT_PROBABILITIES not in over_grpc.predict_log.response.outputs
    assert over_rest.predict_log.request.inputs == over_grpc.predict_log.request.inputs


def test_models_config_says_which_model_is_logged(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "other" / "1").mkdir(parents=True)
    config = tmp_path / "models.config"
    config.write_text(
        f'''model_config_list {{
          config {{ name: "lungs" base_path: "{folder}/lungs" logging_config {{
            log_collector_config {{ filename_prefix: "{tmp_path}/lungs-log" }}
            sampling_config {{ sampling_rate: 1 }} }} }}
          config {{ name: "other" base_path: "{folder}/other" }} }}'''
    )
    with server_in_thread(_servable, config_file=config) as server:
        ask(server.url, png())
        body = json.dumps({"instances": [{"b64": "iVBORw0KGgo="}]})
        requests.post(f"{server.url}/v1/models/other:predict", data=body, timeout=30)
    (shard,) = tmp_path.glob("lungs-log-*.tfrecord")
    (log,) = records(shard)
    assert log.log_metadata.model_spec.name == "lungs"


def test_a_disk_that_hangs_costs_requests_nothing(
    tmp_path: Path, logged: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    from serving.prediction_log.shards import Shards

    awake = Event()
    write = Shards.write

    def hang(self: Shards, serialized: bytes) -> None:
        awake.wait(60)
        write(self, serialized)

    monkeypatch.setattr(Shards, "write", hang)
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged(queued_records=4)
    ) as server:
        for seed in range(12):
            ask(server.url, png(seed))
        metrics = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=30).text
        awake.set()
    name = 'cxr_serving_prediction_log_dropped_total{reason="queue"} '
    dropped = float(metrics.partition(name)[2].partition("\n")[0])
    # Four waited, and up to four more were in the thread's hands.
    assert 4 <= dropped <= 8
    assert len(records(tmp_path)) == 12 - dropped


def test_a_full_disk_costs_requests_nothing_and_the_log_goes_on(
    tmp_path: Path, logged: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.prediction_log import shards

    full = True
    real = tf.io.TFRecordWriter

    class Writer:
        """Takes half of a record, where the disk is full."""

        def __init__(self, path: str) -> None:
            self._path, self._writer = path, real(path)

        def write(self, serialized: bytes) -> None:
            if full:
                self._writer.flush()
                with Path(self._path).open("ab") as file:
                    file.write(serialized[:20])
                raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
            self._writer.write(serialized)

        def flush(self) -> None:
            self._writer.flush()

        def close(self) -> None:
            self._writer.close()

    monkeypatch.setattr(shards.tf.io, "TFRecordWriter", Writer)
    with server_in_thread(
        _servable, model_dir=folder_of(tmp_path), prediction_log=logged(retry_seconds=0.0)
    ) as server:

        def metric(name: str) -> float:
            text = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=30).text
            return float(text.partition(f"\n{name} ")[2].partition("\n")[0])

        ask(server.url, png(0))
        lost = 'cxr_serving_prediction_log_dropped_total{reason="disk"}'
        until(lambda: metric(lost) == 1)
        full = False
        ask(server.url, png(1))
        until(lambda: metric("cxr_serving_prediction_log_written_total") == 1)
    # No half of a record is left.
    (log,) = records(tmp_path)
    digest = hashlib.sha256(png(1)).hexdigest()
    assert _text(log.predict_log.response.outputs[contract.SHA256]) == [digest]


def _asked(target: LogTarget) -> tuple[Asked, Tensors]:
    from serving.core.manager import Lent

    servable = Radiologist()
    inputs = {contract.INPUT_IMAGES: np.array([png()], np.object_)}
    signature = servable.signatures["serving_default"]
    asked = Asked(Lent("lungs", 7, servable, target), signature, signature.method, inputs, inputs)
    return asked, servable.run("serving_default", inputs)


def test_the_draw_is_the_same_for_a_seed(tmp_path: Path) -> None:
    def drawn(name: str, seed: int) -> list[int]:
        (tmp_path / name).mkdir()
        target = LogTarget(tmp_path / name / "log", 0.3)
        log = PredictionLog(LogSettings(seed=seed, statistics_per_second=0))
        asked, outputs = _asked(target)
        for version in range(400):
            spec = Asked(
                type(asked.lent)("lungs", version, asked.lent.servable, target),
                *(asked.signature, asked.method, asked.inputs, asked.ready),
            )
            log(spec, outputs)
        log.close()
        assert log.dropped() == {"queue": 0, "disk": 0, "record": 0}
        return [r.log_metadata.model_spec.version.value for r in records(tmp_path / name)]

    first = drawn("a", 5)
    assert first == drawn("b", 5) != drawn("c", 6)
    # Four standard deviations of a binomial draw.
    assert abs(len(first) - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5


def test_a_record_that_cannot_be_put_together_is_counted(tmp_path: Path) -> None:
    asked, outputs = _asked(LogTarget(tmp_path / "log"))
    log = PredictionLog(LogSettings())
    log(asked, {"odd": np.array([np.datetime64(0, "s")])})
    log(asked, outputs)
    log.close()
    assert log.dropped()["record"] == 1
    assert log.written == len(records(tmp_path)) == 1


def test_a_record_reads_back(tmp_path: Path) -> None:
    asked, outputs = _asked(LogTarget(tmp_path / "log"))
    log = PredictionLog(LogSettings())
    log(asked, outputs)
    log.close()
    (record,) = records(tmp_path)
    assert prediction_log_pb2.PredictionLog.FromString(record.SerializeToString()) == record
