"""Warm-up requests: as TensorFlow Serving reads them, and as they are pushed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog as Log

from models.engines import OPENVINO_BF16, OPENVINO_F32, EngineName
from schema import contract
from serving.conformance.models import write_half_plus_two
from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors
from serving.servables.careful_engine import CarefulEngine
from serving.servables.servable import Servable, Signature
from serving.servables.tensorflow_servable import TensorFlowServable
from serving.warm_up import MOST_RECORDS, warm_up, write_warm_up
from tests.serving.fakes import Doubler
from tests.serving.in_thread import server_in_thread, until
from tests.serving.warm_up_models import write_taker_of_images, write_taker_of_more


def _predict(x: float = 1.0, signature: str = "") -> Log:
    log = Log()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([x], tf.float32))
    return log


def _write(folder: Path, *records: bytes | Log) -> None:
    file = folder / contract.WARM_UP_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def test_without_a_file_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert warm_up(Doubler(), tmp_path) == 0


@pytest.mark.parametrize("rounds", [1, 3])
def test_each_request_is_answered_in_order_and_as_often_as_told(
    rounds: int, tmp_path: Path
) -> None:
    servable = Doubler()
    _write(tmp_path, _predict(), Log(), _predict(signature="sum"))
    assert warm_up(servable, tmp_path, rounds) == 3
    assert len(servable.batches) == 2 * rounds


def test_no_exact_engine_is_asked_for_what_nobody_reads(tmp_path: Path) -> None:
    asked: list[str] = []

    class Engine:
        def __init__(self, name: EngineName) -> None:
            self.name = name

        def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
            asked.append(self.name)
            return {contract.FLAT: np.full((len(images), 2), 0.5, np.float32)}

        def compile(self) -> None: ...

    engine = CarefulEngine(Engine(OPENVINO_BF16), Engine(OPENVINO_F32), 0.2)

    class Unsure(Doubler):
        def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
            engine(np.zeros((1, 8, 8, 1), np.uint8))
            return super()._run(signature, inputs)

    _write(tmp_path, _predict())
    servable = Unsure()
    warm_up(servable, tmp_path)
    assert asked == [OPENVINO_BF16]
    servable.run("", {"x": np.array([1.0])})
    assert asked == [OPENVINO_BF16, OPENVINO_BF16, OPENVINO_F32]


def test_more_than_a_thousand_are_refused_and_a_thousand_are_not(tmp_path: Path) -> None:
    _write(tmp_path, *[Log()] * MOST_RECORDS)
    assert warm_up(Doubler(), tmp_path) == MOST_RECORDS == 1000
    _write(tmp_path, *[Log()] * (MOST_RECORDS + 1))
    said = "Number of warmup records exceeds the maximum .1000. at .*tf_serving_warmup_requests"
    with pytest.raises(ServingError, match=said):
        warm_up(Doubler(), tmp_path)


def _streamed() -> Log:
    log = Log()
    log.session_run_log.request.model_spec.name = "m"
    return log


@pytest.mark.parametrize(
    ("record", "code", "said"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "Failed to parse warmup record: "),
        (_streamed(), "UNIMPLEMENTED", "Unsupported log_type for warmup: 5"),
        (_predict(-1.0), "INVALID_ARGUMENT", "a row of -1"),
        (_predict(signature="none"), "FAILED_PRECONDITION", '"none" not found'),
    ],
)
def test_what_cannot_be_answered_is_told(
    record: bytes | Log, code: str, said: str, tmp_path: Path
) -> None:
    _write(tmp_path, _predict(), record)
    with pytest.raises(ServingError) as refused:
        warm_up(Doubler(), tmp_path)
    assert refused.value.code.name == code
    assert said in refused.value.message


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: b"x" + content])
def test_a_damaged_file_is_told(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    _write(tmp_path, _predict())
    file = tmp_path / contract.WARM_UP_FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ServingError) as refused:
        warm_up(Doubler(), tmp_path)
    assert refused.value.code.name == "DATA_LOSS"
    assert refused.value.message.endswith("Please verify your warmup data is in TFRecord format.")


def test_classifications_and_regressions_warm_up_too(tmp_path: Path) -> None:
    write_half_plus_two(tmp_path)
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    logs = [Log(), Log(), Log()]
    for log, method in zip(logs[:2], ("classify", "regress"), strict=True):
        request = getattr(log, f"{method}_log").request
        request.model_spec.signature_name = f"{method}_x_to_y"
        request.input.example_list.examples.append(example)
    both = logs[2].multi_inference_log.request
    both.input.example_list.examples.append(example)
    for method in ("classify", "regress"):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.signature_name = f"{method}_x_to_y"
    _write(tmp_path, *logs)
    servable = TensorFlowServable(tmp_path)
    assert warm_up(servable, tmp_path) == 3
    logs[0].classify_log.request.model_spec.signature_name = "serving_default"
    _write(tmp_path, logs[0])
    with pytest.raises(ServingError, match="No classification inputs found in SignatureDef"):
        warm_up(servable, tmp_path)


def test_what_is_written_is_answered(tmp_path: Path) -> None:
    write_taker_of_images(tmp_path)
    assert write_warm_up(str(tmp_path)) == 2
    written = (tmp_path / contract.WARM_UP_FILE).read_bytes()
    servable = TensorFlowServable(tmp_path)
    assert warm_up(servable, tmp_path) == 2
    assert servable.loaded.asked.numpy() == 2
    # What is there already stays, and the bytes are always the same.
    assert write_warm_up(str(tmp_path)) == 0
    (tmp_path / contract.WARM_UP_FILE).unlink()
    write_warm_up(str(tmp_path))
    assert (tmp_path / contract.WARM_UP_FILE).read_bytes() == written


def test_for_inputs_that_are_not_known_nothing_is_written(tmp_path: Path) -> None:
    write_taker_of_more(tmp_path / "more")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / contract.SAVED_MODEL_FILE).write_text("x")
    for name in ("more", "none"):
        assert write_warm_up(str(tmp_path / name)) == 0
        assert not (tmp_path / name / contract.WARM_UP_FILE).exists()


def test_a_version_is_served_once_it_is_warm_and_not_where_it_cannot_be(
    tmp_path: Path,
) -> None:
    made: list[Doubler] = []

    def load(path: Path) -> Servable:
        made.append(Doubler())
        return made[-1]

    _write(tmp_path / "m" / "1", _predict())
    with server_in_thread(load, model_dir=tmp_path, file_poll_s=0.05) as server:
        assert made[0].batches == [1]
        _write(tmp_path / "new", _predict(-1.0))
        (tmp_path / "new").rename(tmp_path / "m" / "2")

        def states() -> dict[str, tuple[str, str]]:
            answer = requests.get(f"{server.url}/v1/models/m", timeout=10).json()
            return {
                found["version"]: (found["state"], found["status"]["error_message"])
                for found in answer["model_version_status"]
            }

        until(lambda: states().get("2") == ("END", "a row of -1"))
        assert states()["1"] == ("AVAILABLE", "")
    with server_in_thread(load, model_dir=tmp_path, warm_up=False) as server:
        assert made[-1].batches == []
