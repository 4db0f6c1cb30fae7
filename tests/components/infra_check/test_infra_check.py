"""What is blessed, and what the Pusher and the champion make of it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx.components.pusher.executor import Executor as PusherExecutor  # noqa: E402
from tfx.components.util import model_utils  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.champion.component import Candidate, Champion  # noqa: E402
from components.infra_check import requests_sent  # noqa: E402
from components.infra_check.executor import (  # noqa: E402
    REPORT_FILE,
    Executor,
    choose_samples,
)
from components.infra_check.requests_sent import Answer, Findings  # noqa: E402
from components.serving_pusher.executor import Executor as ServingPusherExecutor  # noqa: E402
from models.boundary import CutNetwork  # noqa: E402
from models.classifier import BackboneModel, CalibratedHead, Classifier  # noqa: E402
from models.engines import OPENVINO_BF16, OPENVINO_F32, OPENVINO_INT8, TENSORFLOW  # noqa: E402
from models.heads import build_head  # noqa: E402
from models.hyperparameters import HeadParams  # noqa: E402
from models.predictions import Predictions, write_predictions  # noqa: E402
from models.preprocessing import decode_and_resize  # noqa: E402
from models.signatures import export  # noqa: E402
from schema import contract  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.tensorflow_servable import TensorFlowServable  # noqa: E402
from tests.components.infra_check.in_thread import served_in_thread  # noqa: E402
from tests.loaded_once import loaded_once  # noqa: E402

__all__ = ["loaded_once", "served_in_thread"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("loaded_once")

CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
PER_SPLIT = 9
SPLITS = (contract.SPLIT_TEST, contract.SPLIT_EVAL)


def _transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


@pytest.fixture(scope="module")
def examples(encode: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of two splits, as RadiographExampleGen writes them."""
    root = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    for split in SPLITS:
        (root / f"Split-{split}").mkdir()
        file = str(root / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(file, "GZIP") as writer:
            for index in range(PER_SPLIT):
                coarse = rng.integers(0, 60 + 20 * index, (8, 8))
                image = encode(np.kron(coarse, np.ones((20, 20))).astype(np.uint8))
                label = tf.train.Feature(int64_list=tf.train.Int64List(value=[index % 3]))
                features = {
                    contract.IMAGE: _bytes(image),
                    contract.SHA256: _bytes(f"{split}{index}".encode()),
                    contract.LABEL: label,
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return root


@pytest.fixture(scope="module")
def model(
    tiny_cut: Callable[..., CutNetwork], examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model and its run, as Trainer leaves them."""
    root = tmp_path_factory.mktemp("trained")
    network = tiny_cut("head")
    channels = {name: tensor.shape[-1] for name, tensor in network.suffix.output.items()}
    moments = {name: (np.zeros(size), np.ones(size)) for name, size in channels.items()}
    head = CalibratedHead(build_head(HeadParams(l2=0.01), channels, 3, moments, 0))
    served = BackboneModel(_transform, Classifier(network, {contract.FLAT: head}), CLASSES, 0.4)
    export(served, str(root / "model" / "Format-Serving"))
    samples = choose_samples(_artifact(standard_artifacts.Examples, examples), _Everything(), 9)
    noted = [sample for sample in samples if sample.sha256.startswith("eval")]
    images = tf.constant([sample.given[contract.INPUT_IMAGES] for sample in noted])
    answers = served.predict(images)[contract.OUTPUT_PROBABILITIES].numpy()
    (root / "run").mkdir()
    write_predictions(
        str(root / "run"),
        Predictions(
            tuple(sample.sha256 for sample in noted),
            np.zeros(len(noted), np.int64),
            {contract.FLAT: answers.astype(np.float64)},
            100,
        ),
    )
    return root


class _Everything(dict[str, np.ndarray]):
    """Holds whatever it is asked for."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> np.ndarray:
        return np.zeros(3)


def _artifact(kind: Any, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    if kind is standard_artifacts.Examples:
        artifact.split_names = json.dumps(list(SPLITS))
    return artifact


def _check(model: Path, run: Path, examples: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The blessing, and the report beside it."""
    blessing = _artifact(standard_artifacts.InfraBlessing, folder)
    Executor().Do(
        {
            "model": [_artifact(standard_artifacts.Model, model)],
            "model_run": [_artifact(standard_artifacts.ModelRun, run)],
            "examples": [_artifact(standard_artifacts.Examples, examples)],
        },
        {"blessing": [blessing]},
        {"images": 1},
    )
    return blessing, json.loads((folder / REPORT_FILE).read_text())


def test_the_samples_are_some_of_each_class_and_split(examples: Path) -> None:
    artifact = _artifact(standard_artifacts.Examples, examples)
    noted = {f"eval{index}": np.full(3, index / 10) for index in (4, 5, 6, 7)}
    samples = choose_samples(artifact, noted, 2)
    assert [s.sha256 for s in samples[:6]] == [f"test{index}" for index in range(6)]
    assert all(s.noted is None for s in samples[:6])
    # Of class 0 only the image 6 was noted, of class 1 the images 4 and 7.
    assert [s.sha256 for s in samples[6:]] == ["eval4", "eval5", "eval6", "eval7"]
    assert [s.noted[0] for s in samples[6:] if s.noted is not None] == [0.4, 0.5, 0.6, 0.7]


def test_a_model_that_answers_as_it_should_is_blessed(
    model: Path, examples: Path, served_in_thread: None, tmp_path: Path
) -> None:
    blessing, report = _check(model / "model", model / "run", examples, tmp_path)
    assert report["failures"] == []
    assert report["requests"] == 3 * 6
    assert report["engine"]
    assert report["own_difference"] < 0.02
    assert report["noted_difference"] < 0.05
    assert (tmp_path / "INFRA_BLESSED").exists()
    assert model_utils.is_infra_validated(blessing)
    assert PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})


def _found(engine: str, *failures: str, precision: str = "") -> Findings:
    return Findings(requests=1, engine=engine, precision=precision, failures=list(failures))


@pytest.mark.parametrize(
    ("engine", "first", "second", "precision"),
    [
        (OPENVINO_BF16, ["off"], [], "f32"),
        (OPENVINO_BF16, ["off"], ["off, too"], ""),
        (OPENVINO_BF16, [], None, ""),
        (OPENVINO_F32, ["off"], None, ""),
        (TENSORFLOW, ["off"], None, ""),
    ],
)
def test_where_bf16_is_off_f32_is_tried(
    engine: str,
    first: list[str],
    second: list[str] | None,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []

    def check_served(version: Path, samples: Any, asked: str = "") -> Findings:
        told.append(asked)
        if asked:
            return _found(OPENVINO_F32, *(second or []), precision=asked)
        return _found(engine, *first)

    monkeypatch.setattr(requests_sent, "check_served", check_served)
    findings = requests_sent.check_served_well(Path("1"), [])
    assert told == ["", *([] if second is None else ["f32"])]
    assert findings.precision == precision
    assert findings.failures == (first if second is None or second else [])


@pytest.mark.parametrize("bf16", [True, False])
def test_where_int8_is_off_what_would_serve_without_it_is_tried(
    bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def check_served(version: Path, samples: Any, asked: str = "") -> Findings:
        told.append(asked)
        right = asked == "f32"
        return _found(OPENVINO_F32 if right else OPENVINO_INT8, *([] if right else ["off"]),
                      precision=asked)  # fmt: skip

    monkeypatch.setattr(requests_sent, "check_served", check_served)
    monkeypatch.setattr(requests_sent, "gains_by_bf16", lambda: bf16)
    assert requests_sent.check_served_well(Path("1"), []).precision == "f32"
    assert told == (["", "bf16", "f32"] if bf16 else ["", "f32"])


@pytest.fixture
def told(model: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Has a server of this process answer, which is off in bf16; what it was started with."""
    started: list[tuple[str, ...]] = []
    servable = TensorFlowServable(model / "model" / "Format-Serving")

    @contextlib.contextmanager
    def running_server(*arguments: str) -> Iterator[Any]:
        started.append(arguments)
        engine = OPENVINO_F32 if arguments[2:] == ("--precision", "f32") else OPENVINO_BF16
        yield SimpleNamespace(engine_of=lambda _: engine)

    def ask(server: Any, _: Any, given: Mapping[str, Any]) -> Answer:
        inputs = {contract.INPUT_IMAGES: strings([given[contract.INPUT_IMAGES]])}
        outputs = servable.run(contract.SIGNATURE_DEFAULT, inputs)
        (probabilities,) = outputs[contract.OUTPUT_PROBABILITIES]
        off = 0.1 if server.engine_of("candidate") == OPENVINO_BF16 else 0.0
        return Answer(CLASSES[int(probabilities.argmax())], probabilities + off)

    monkeypatch.setattr(requests_sent, "running_server", running_server)
    monkeypatch.setattr(requests_sent, "_FORMS", {"here": ask})
    return started


def test_a_model_that_needs_f32_is_pushed_with_a_note(
    model: Path, examples: Path, tmp_path: Path, told: list[tuple[str, ...]]
) -> None:
    blessing, report = _check(model / "model", model / "run", examples, tmp_path / "infra")
    assert [arguments[::2] for arguments in told] == [
        ("--model-config-file",),
        ("--model-config-file", "--precision"),
    ]
    assert report["engine"] == OPENVINO_F32
    assert (report["failures"], report["requests"]) == ([], 6)
    assert model_utils.is_infra_validated(blessing)
    pushed = _artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
    destination = {"filesystem": {"base_directory": str(tmp_path / "serving")}}
    context = ServingPusherExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    ServingPusherExecutor(context).Do(
        {
            "model": [_artifact(standard_artifacts.Model, model / "model")],
            "infra_blessing": [blessing],
        },
        {"pushed_model": [pushed]},
        {"push_destination": json.dumps(destination)},
    )
    (version,) = (tmp_path / "serving").iterdir()
    assert load_servable(version).engine == OPENVINO_F32
    # What is told beats what is noted.
    assert load_servable(version, "tensorflow").engine == TENSORFLOW
    assert not (model / "model" / "Format-Serving" / "assets.extra").exists()


def test_other_answers_than_in_training_are_not_blessed(
    model: Path, examples: Path, tmp_path: Path, told: list[tuple[str, ...]]
) -> None:
    shutil.copytree(model / "run", tmp_path / "run")
    file = tmp_path / "run" / contract.PREDICTIONS_FILE
    content = json.loads(file.read_text())
    flat = content["probabilities"][contract.FLAT]
    content["probabilities"][contract.FLAT] = [[row[1], row[2], row[0]] for row in flat]
    file.write_text(json.dumps(content))
    blessing, report = _check(model / "model", tmp_path / "run", examples, tmp_path / "out")
    assert any("off what was noted in training" in failure for failure in report["failures"])
    assert (tmp_path / "out" / "INFRA_NOT_BLESSED").exists()
    assert not model_utils.is_infra_validated(blessing)
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})


def test_a_damaged_model_is_not_blessed_and_stops_nothing(
    model: Path, examples: Path, tmp_path: Path
) -> None:
    shutil.copytree(model / "model", tmp_path / "model")
    file = tmp_path / "model" / "Format-Serving" / contract.SAVED_MODEL_FILE
    file.write_bytes(file.read_bytes()[:1000])
    blessing, report = _check(tmp_path / "model", model / "run", examples, tmp_path / "out")
    assert len(report["failures"]) == 1
    assert report["requests"] == 0
    assert not model_utils.is_infra_validated(blessing)


def test_the_champion_is_one_that_can_be_served() -> None:
    from components.champion import executor as champion

    def blessing(passed: bool) -> Any:
        artifact = standard_artifacts.InfraBlessing()
        artifact.set_int_custom_property("blessed", int(passed))
        return [artifact]

    assert champion._is_servable(None)
    assert champion._is_servable(blessing(True))
    assert not champion._is_servable(blessing(False))

    def channel(kind: Any) -> Any:
        from tfx.types import channel as channels

        return channels.Channel(type=kind)

    candidate = Candidate(
        channel(standard_artifacts.Model),
        channel(standard_artifacts.ModelRun),
        channel(standard_artifacts.ModelBlessing),
        channel(standard_artifacts.InfraBlessing),
    )
    node = Champion({"a": candidate}, prefer="accurate", code_digest="x")
    assert set(node.inputs) == {"model_a", "run_a", "blessing_a", "infra_a"}
