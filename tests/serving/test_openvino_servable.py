"""This project's models on OpenVINO: the same answers, and TensorFlow where it can't be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf

from models.engines import OPENVINO_F32, TENSORFLOW
from models.served_signature import served_signature
from schema import contract
from serving.networks import conversion, probes
from serving.networks.store import DamagedError
from serving.protocol.status import ServingError
from serving.servables import openvino_servable
from serving.servables.loading import load_servable
from tests.serving.conftest import Load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]


def _inputs(values: Sequence[bytes], name: str = contract.INPUT_IMAGES) -> dict[str, np.ndarray]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return {name: array}


@pytest.mark.parametrize("name", ["a", "cascade"])
def test_the_answers_are_tensorflows(
    name: str, loaded: Load, versions: dict[str, Path], images: list[bytes]
) -> None:
    fast = loaded(name, "openvino")
    assert fast.engine == OPENVINO_F32
    asked = [_inputs(values) for values in (images, images[3:4], [])]
    with served_signature(str(versions[name]), contract.SIGNATURE_DEFAULT) as ask:
        answers = [ask(inputs) for inputs in asked]
    for inputs, expected in zip(asked, answers, strict=True):
        found = fast.run("", inputs)
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert found[key].dtype == value.dtype
            assert found[key].shape == value.shape
            if key == contract.OUTPUT_PROBABILITIES:
                np.testing.assert_allclose(found[key], value, atol=1e-3)
            elif key != contract.OUTPUT_ABSTAIN:
                assert found[key].tolist() == value.tolist()


def test_what_no_engine_can_run_is_named_and_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    def fails(error: Exception) -> Callable[[Any], Any]:
        def make(_: Any) -> Any:
            raise error

        return make

    expected = np.full((len(probes.probe_pixels()), 3), 1 / 3)
    with pytest.raises(conversion.NotConvertibleError, match=f"{tmp_path}: no such operation"):
        conversion.choose_engine(
            expected, fails(RuntimeError("no such operation")), tmp_path, "f32"
        )
    with pytest.raises(DamagedError, match="torn"):
        conversion.choose_engine(expected, fails(DamagedError("torn")), tmp_path, "f32")
    names = conversion.signature_names()
    model = SimpleNamespace(signatures=dict.fromkeys(names), preprocess=1, network=1, answer=1)
    with pytest.raises(conversion.NotConvertibleError, match=str(tmp_path)):
        conversion.convert_network(model, tmp_path)


def test_examples_are_taken_too(loaded: Load, images: list[bytes]) -> None:
    servable = loaded("a", "openvino")
    examples = []
    for data in images[:3]:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
        example = tf.train.Example(features=tf.train.Features(feature={contract.IMAGE: feature}))
        examples.append(example.SerializeToString())
    by_example = servable.run(contract.SIGNATURE_EXAMPLES, _inputs(examples, "examples"))
    by_image = servable.run(contract.SIGNATURE_DEFAULT, _inputs(images[:3]))
    np.testing.assert_allclose(by_example["probabilities"], by_image["probabilities"], atol=1e-6)


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_what_is_no_image_is_the_clients_mistake(
    engine: Literal["openvino", "tensorflow"], loaded: Load, images: list[bytes]
) -> None:
    servable = loaded("a", engine)
    with pytest.raises(ServingError, match="Unknown image file format") as refused:
        servable.run("", _inputs([images[0], b"no image"]))
    assert refused.value.http_status == 400
    with pytest.raises(ServingError) as refused:
        servable.run("", {contract.INPUT_IMAGES: _inputs(images)["image_bytes"][:, np.newaxis]})
    assert refused.value.http_status == 400


def test_another_models_saved_model_goes_to_tensorflow(tmp_path: Path) -> None:
    from serving.conformance.models import write_half_plus_two

    write_half_plus_two(tmp_path / "1")
    servable = load_servable(tmp_path / "1")
    assert servable.engine == TENSORFLOW
    np.testing.assert_allclose(servable.run("", {"x": np.array([2.0], np.float32)})["y"], [3.0])


def test_an_engine_that_is_off_is_not_used(
    versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    assert load_servable(versions["a"]).engine == TENSORFLOW


@pytest.mark.parametrize(
    ("note", "precision"),
    [
        ('{"precision": "f32"}', "f32"),
        ('{"precision": "bf16"}', "bf16"),
        ('{"precision": "int8"}', "int8"),
        ('{"precision": "int4"}', "auto"),
        ('{"precision": ["f32"]}', "auto"),
        ("[]", "auto"),
        ("{", "auto"),
        (None, "auto"),
    ],
)
def test_a_note_beside_the_model_is_heeded(
    note: str | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(*given: Any, insist: bool) -> SimpleNamespace:
        asked.append((*given[:2], insist))
        return SimpleNamespace()

    monkeypatch.setattr(openvino_servable, "OpenVinoServable", load)
    if note is not None:
        file = tmp_path / contract.SERVING_NOTE_FILE
        file.parent.mkdir()
        file.write_text(note)
    load_servable(tmp_path)
    load_servable(tmp_path, "openvino")
    # Who says which one he wants gets it.
    load_servable(tmp_path, "auto", "f32")
    load_servable(tmp_path, "auto", "int8")
    assert asked == [
        (tmp_path, precision, False),
        (tmp_path, precision, False),
        (tmp_path, "f32", False),
        # And int8 on CPUs, too, on which nobody measured it.
        (tmp_path, "int8", True),
    ]


def test_a_model_is_loaded_as_its_note_says(versions: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(versions["a"], tmp_path / "1")
    file = tmp_path / "1" / contract.SERVING_NOTE_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"precision": "f32"}')
    assert load_servable(tmp_path / "1").engine == OPENVINO_F32
    assert load_servable(tmp_path / "1", "tensorflow").engine == TENSORFLOW


def test_a_damaged_model_is_told(tmp_path: Path, versions: dict[str, Path]) -> None:
    with pytest.raises(ServingError, match="Could not find SavedModel"):
        load_servable(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ServingError):
        load_servable(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes((versions["a"] / "saved_model.pb").read_bytes())
    with pytest.raises(ServingError):
        load_servable(tmp_path)


def test_log_odds_see_what_probabilities_near_0_and_1_hide() -> None:
    difference = probes.log_odds_difference
    sure = np.array([[0.999, 0.001]])
    surer = np.array([[0.9995, 0.0005]])
    assert difference(sure, sure) == 0.0
    assert np.abs(sure - surer).max() < 0.001
    assert difference(surer, sure) == pytest.approx(np.log(0.9995 / 0.0005 / 999), abs=1e-9)
    # The same change where it counts: within a quarter of it.
    odds = np.exp(difference(surer, sure))
    half, moved = np.array([[0.5, 0.5]]), np.array([[odds / (1 + odds), 1 / (1 + odds)]])
    assert difference(moved, half) == pytest.approx(difference(surer, sure))
    assert np.abs(moved - half).max() <= difference(moved, half) / 4


def test_the_probes_are_always_the_same_and_differ_from_each_other() -> None:
    images = probes.probe_pixels()
    assert (images.shape, images.dtype) == ((16, 256, 256, 1), np.uint8)
    np.testing.assert_array_equal(images, probes.probe_pixels.__wrapped__())
    assert len({image.tobytes() for image in images}) == 16
