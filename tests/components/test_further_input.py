"""A further input, known to this module only, from the examples to the answers of the server.

A column of numbers is registered, and nothing else is said of it: Transform, Featurizer, what
training reads, signatures, InfraCheck and `cxr serve` have to know it from there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
import tensorflow_transform as tft  # noqa: E402
from tfx.components.transform.executor import Executor as Transform  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from common.errors import InputError  # noqa: E402
from components.curated_schema_gen import CuratedSchemaGen  # noqa: E402
from components.featurizer.executor import Executor as Featurizer  # noqa: E402
from components.infra_check.executor import choose_samples  # noqa: E402
from components.infra_check.requests_sent import check_served  # noqa: E402
from components.radiograph_example_gen.inspection import Inspection  # noqa: E402
from components.radiograph_example_gen.writing import make_example, make_record  # noqa: E402
from models import preprocessing  # noqa: E402
from models.backbones import build_network, get_backbone  # noqa: E402
from models.boundary import CutNetwork, FeatureSpec  # noqa: E402
from models.fused_data import read_fused  # noqa: E402
from models.hyperparameters import TrainingParams  # noqa: E402
from models.preprocessing import decode_transformed  # noqa: E402
from models.signatures import ServedModel, export, load_transform  # noqa: E402
from models.training_data import read_image_taps  # noqa: E402
from schema import SCHEMA_DIR, SCHEMA_FILE, contract, inputs  # noqa: E402
from schema.inputs import Input, Tensor  # noqa: E402
from tests.components.infra_check.in_thread import served_in_thread  # noqa: E402
from tests.loaded_once import loaded_once  # noqa: E402

__all__ = ["loaded_once", "served_in_thread"]  # Fixtures.

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]
CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
PER_SPLIT = 6
FURTHER = Input(
    Tensor(contract.MEAN, "float32"),
    Tensor("brightness", "float32", (1,)),
    made_by="z_score",
    through_backbone=False,
    served="brightness",
)


def _z_score(values: tf.Tensor) -> tf.Tensor:
    return tft.scale_to_z_score(values)[:, tf.newaxis]


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The input is there for this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "INPUTS", (*inputs.INPUTS, FURTHER))
        patch.setitem(preprocessing.MAKERS, FURTHER.made_by, _z_score)
        # TFX would load the module anew, and with it a registry without this input.
        found = preprocessing.preprocessing_fn
        patch.setattr(Transform, "_GetPreprocessingFn", lambda *_: found)
        yield


def _artifact(kind: Any, folder: Path, splits: tuple[str, ...] = ()) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    if splits:
        artifact.split_names = json.dumps(list(splits))
    return artifact


@dataclass
class Made:
    """What Transform and Featurizer made of a few examples.

    Attributes:
        raw: the examples, an artifact; `means` are their values, by digest.
        transform: the transform graph.
        features: split -> pattern of the records.
    """

    raw: Any
    means: Mapping[str, float]
    transform: Path
    features: Mapping[str, list[str]]

    def expected(self, digest: str) -> float:
        """A value as Transform scales it: it knows the train split."""
        known = [mean for sha256, mean in self.means.items() if sha256.startswith("0")]
        return float((self.means[digest] - np.mean(known)) / np.std(known))


@pytest.fixture(scope="module")
def made(
    quick_beam: None,
    tiny_backbone: str,
    encode: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """Runs TFX's Transform and Featurizer by their executors, on examples as they are written."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    means: dict[str, float] = {}
    for place, split in enumerate(contract.SPLITS):
        (root / "raw" / f"Split-{split}").mkdir(parents=True)
        file = root / "raw" / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for index in range(PER_SPLIT):
                pixels = rng.integers(0, 100 + 20 * index, (40, 40), np.uint8)
                content = encode(pixels)
                # The split is its first letter.
                digest = f"{place}{hashlib.sha256(content).hexdigest()[1:]}"
                label = index % len(CLASSES)
                means[digest] = float(pixels.mean())
                image = Inspection(f"{index}.png", CLASSES[label], digest, mean=means[digest])
                record = make_record(image, None, label, group=digest)
                writer.write(make_example(record, content).SerializeToString())
    raw = _artifact(standard_artifacts.Examples, root / "raw", contract.SPLITS)
    (root / "schema").mkdir()
    shutil.copy(SCHEMA_DIR / SCHEMA_FILE, root / "schema")
    transformed = _artifact(standard_artifacts.Examples, root / "transformed")
    Transform().Do(
        {"examples": [raw], "schema": [_artifact(standard_artifacts.Schema, root / "schema")]},
        {
            "transform_graph": [_artifact(standard_artifacts.TransformGraph, root / "graph")],
            "transformed_examples": [transformed],
        },
        {"preprocessing_fn": "models.preprocessing.preprocessing_fn", "disable_statistics": 1},
    )
    (root / "backbone" / "Format-Serving").mkdir(parents=True)
    weights = root / "backbone" / "Format-Serving" / contract.BACKBONE_WEIGHTS_FILE
    build_network(get_backbone(tiny_backbone)).save_weights(weights)
    Featurizer().Do(
        {
            "examples": [transformed],
            "model": [_artifact(standard_artifacts.Model, root / "backbone")],
        },
        {"features": [_artifact(standard_artifacts.Examples, root / "features")]},
        {
            "backbone": tiny_backbone,
            "boundaries": '["head"]',
            "taps": '["block1", "last"]',
            "augmentations": '{"train": ["identity", "mirror"], "eval": ["identity"], "test": []}',
            "engine": "tensorflow",
        },
    )
    folders = {split: root / "features" / f"Split-{split}" for split in contract.SPLITS}
    patterns = {split: [f"{folder}/*"] for split, folder in folders.items()}
    return Made(raw, means, root / "graph", patterns)


def test_a_schema_without_it_is_refused(tmp_path: Path) -> None:
    assert CuratedSchemaGen(SCHEMA_DIR / SCHEMA_FILE)
    text = (SCHEMA_DIR / SCHEMA_FILE).read_text()
    assert f'key: "{contract.MEAN}"' in text
    (tmp_path / SCHEMA_FILE).write_text(text.replace(f'key: "{contract.MEAN}"', 'key: "other"'))
    with pytest.raises(InputError, match=f"no tensor of {contract.MEAN}, which Transform reads"):
        CuratedSchemaGen(tmp_path / SCHEMA_FILE)


def test_training_reads_it_beside_the_taps(
    made: Made, tiny_cut: Callable[..., CutNetwork], tiny_backbone: str
) -> None:
    network = tiny_cut()
    params = TrainingParams(augmentations=("identity", "mirror"), batch_size=4)
    taps = read_image_taps(network, params, made.features["train"], inputs.for_heads())
    assert set(taps.taps) == {"block1", "last", "brightness"}
    assert len(taps.images) == 2 * PER_SPLIT, "an image and its mirror"
    expected = [[made.expected(taps.sha256[image])] for image in taps.images]
    np.testing.assert_allclose(taps.taps["brightness"], expected, atol=1e-4)

    specs: dict[str, Mapping[str, FeatureSpec]] = {tiny_backbone: network.features}
    sources = {tiny_backbone: made.features["eval"]}
    fused = read_fused(sources, specs, inputs.for_heads())
    assert set(fused.taps) == {"tiny_block1", "tiny_last", "brightness"}
    expected = [[made.expected(digest)] for digest in fused.sha256]
    np.testing.assert_allclose(fused.taps["brightness"], expected, atol=1e-4)


def test_who_does_not_ask_for_it_reads_what_there_was_before(
    made: Made, tiny_cut: Callable[..., CutNetwork]
) -> None:
    params = TrainingParams(augmentations=("identity",))
    taps = read_image_taps(tiny_cut(), params, made.features["eval"])
    assert set(taps.taps) == {"block1", "last"}


class _Both(ServedModel):
    """Answers by both: the brighter, the more of the first class."""

    def _classify(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        pngs, brightness = transformed
        darkest = tf.reduce_min(decode_transformed(pngs), axis=[1, 2])
        logits = [brightness, tf.zeros_like(brightness), tf.cast(darkest, tf.float32) / 255]
        return {contract.FLAT: tf.nn.softmax(tf.concat(logits, axis=-1))}


@pytest.fixture(scope="module")
def version(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported version that takes both inputs."""
    folder = tmp_path_factory.mktemp("models") / "1"
    transform = load_transform(str(made.transform))
    export(_Both(transform, CLASSES, 0.4, inputs.INPUTS), str(folder))
    return folder


def test_the_signatures_take_it(made: Made, version: Path) -> None:
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {contract.SIGNATURE_DEFAULT, contract.SIGNATURE_EXAMPLES}
    default = loaded.signatures[contract.SIGNATURE_DEFAULT]
    _, arguments = default.structured_input_signature
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in arguments.items()} == {
        "image_bytes": (tf.string, [None]),
        "brightness": (tf.float32, [None]),
    }
    (file,) = (Path(made.raw.uri) / "Split-test").iterdir()
    records = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    contents = [each[contract.IMAGE].bytes_list.value[0] for each in features]
    means = [each[contract.MEAN].float_list.value[0] for each in features]
    by_name = default(image_bytes=tf.constant(contents), brightness=tf.constant(means))
    by_record = loaded.signatures[contract.SIGNATURE_EXAMPLES](tf.constant(records))
    probabilities = by_name[contract.OUTPUT_PROBABILITIES].numpy()
    np.testing.assert_allclose(
        by_record[contract.OUTPUT_PROBABILITIES].numpy(), probabilities, atol=1e-6
    )
    digests = [each[contract.SHA256].bytes_list.value[0].decode() for each in features]
    first_over_second = np.log(probabilities[:, 0] / probabilities[:, 1])
    np.testing.assert_allclose(first_over_second, list(map(made.expected, digests)), atol=1e-4)


# A process of its own knows nothing of the registered input but what the SavedModel says.
@pytest.mark.parametrize("where", ["thread", pytest.param("process", marks=pytest.mark.long)])
def test_a_server_that_is_asked_in_every_form_answers_by_it(
    where: str, made: Made, version: Path, request: pytest.FixtureRequest
) -> None:
    if where == "thread":
        request.getfixturevalue("served_in_thread")
    noted: dict[str, np.ndarray] = {}
    samples = choose_samples(made.raw, noted, 1)
    assert {tuple(sorted(sample.given)) for sample in samples} == {("brightness", "image_bytes")}
    findings = check_served(version, samples)
    assert findings.failures == []
    assert (findings.engine, findings.requests) == ("tensorflow", 3 * len(CLASSES))
