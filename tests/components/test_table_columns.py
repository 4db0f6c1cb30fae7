"""Columns of the table from the examples to the answers of the server, in each form.

The graph and the features are TFX's Transform's and Featurizer's own; the models are stand-ins that
answer by the columns in a way that can be computed by hand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
from tfx.components.transform.executor import Executor as Transform  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from components.curated_schema_gen import CuratedSchemaGen  # noqa: E402
from components.featurizer.executor import Executor as Featurizer  # noqa: E402
from components.infra_check.executor import choose_samples  # noqa: E402
from components.infra_check.requests_sent import check_served  # noqa: E402
from components.radiograph_example_gen.inspection import Inspection  # noqa: E402
from components.radiograph_example_gen.metadata import Row  # noqa: E402
from components.radiograph_example_gen.writing import make_example, make_record  # noqa: E402
from models.backbones import build_network, get_backbone  # noqa: E402
from models.boundary import CutNetwork, FeatureSpec  # noqa: E402
from models.fused_data import read_fused  # noqa: E402
from models.hyperparameters import TrainingParams  # noqa: E402
from models.lending import read_saved_model  # noqa: E402
from models.preprocessing import decode_transformed  # noqa: E402
from models.signatures import ServedModel, export, load_transform  # noqa: E402
from models.table_values import read_columns  # noqa: E402
from models.training_data import read_image_taps  # noqa: E402
from schema import SCHEMA_DIR, SCHEMA_FILE, contract, inputs  # noqa: E402
from schema.table import TABLE_PROPERTY, TableColumn, from_json, to_json  # noqa: E402
from serving.protocol.predict_request import parse_predict  # noqa: E402
from serving.protocol.status import ServingError  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.tensorflow_servable import TensorFlowServable  # noqa: E402
from tests.command_line import cxr  # noqa: E402
from tests.components.infra_check.in_thread import served_in_thread  # noqa: E402
from tests.loaded_once import loaded_once  # noqa: E402
from tests.serving.in_thread import server_in_thread  # noqa: E402

__all__ = ["loaded_once", "served_in_thread"]  # Fixtures.

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]
CLASSES = ["COVID-19", "Normal", "Viral Pneumonia"]
PER_SPLIT = 6
CRP = TableColumn("crp", "crp_val", "numeric", unit="mg/l", low=0, high=600)
SEX = TableColumn("sex", "sex", "categorical", values=2, presence=True)
NOTES = TableColumn("notes", "clinical_notes", "text", buckets=8)
COLUMNS = (CRP, SEX, NOTES)
INPUTS = inputs.of_columns(COLUMNS)
# By the place of an image in its split; the third has nothing.
CELLS: list[Mapping[str, Any]] = [
    {"crp": 1.0, "sex": "F", "notes": "fever"},
    {"crp": 5.0, "sex": "M"},
    {},
    {"crp": math.inf, "notes": "cough and fever"},
    {"sex": "F"},
    {"crp": 3.0},
]
MEDIAN, SPREAD = 3.0, float(np.std([1.0, 5.0, 3.0]))


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
        raw: the examples, an artifact; `cells` are their columns, by digest.
        transform: the transform graph.
        features: split -> pattern of the records.
    """

    raw: Any
    cells: Mapping[str, Mapping[str, Any]]
    transform: Path
    features: Mapping[str, list[str]]


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
    cells: dict[str, Mapping[str, Any]] = {}
    for place, split in enumerate(contract.SPLITS):
        (root / "raw" / f"Split-{split}").mkdir(parents=True)
        file = root / "raw" / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for index in range(PER_SPLIT):
                pixels = rng.integers(0, 100 + 20 * index, (40, 40), np.uint8)
                content = encode(pixels)
                digest = f"{place}{hashlib.sha256(content).hexdigest()[1:]}"
                # Other splits say other things: the analyzers may know nothing of them.
                factor = {"crp": 2 * CELLS[index].get("crp", 0)} if place else {}
                cells[digest] = {n: factor.get(n, v) for n, v in CELLS[index].items()}
                label = index % len(CLASSES)
                image = Inspection(f"{index}.png", CLASSES[label], digest)
                row = Row(index + 2, f"{index}.png", table=cells[digest])
                record = make_record(image, row, label, group=digest)
                writer.write(make_example(record, content).SerializeToString())
    raw = _artifact(standard_artifacts.Examples, root / "raw", contract.SPLITS)
    (root / "schema").mkdir()
    schema = CuratedSchemaGen(SCHEMA_DIR / SCHEMA_FILE, COLUMNS)
    text = schema.exec_properties["schema_text"]
    (root / "schema" / SCHEMA_FILE).write_text(text)
    transformed = _artifact(standard_artifacts.Examples, root / "transformed")
    Transform().Do(
        {"examples": [raw], "schema": [_artifact(standard_artifacts.Schema, root / "schema")]},
        {
            "transform_graph": [_artifact(standard_artifacts.TransformGraph, root / "graph")],
            "transformed_examples": [transformed],
        },
        {
            "preprocessing_fn": "models.preprocessing.preprocessing_fn",
            "disable_statistics": 1,
            "custom_config": json.dumps({TABLE_PROPERTY: to_json(COLUMNS)}),
        },
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
            "table": to_json(COLUMNS),
        },
    )
    folders = {split: root / "features" / f"Split-{split}" for split in contract.SPLITS}
    patterns = {split: [f"{folder}/*"] for split, folder in folders.items()}
    return Made(raw, cells, root / "graph", patterns)


def _crp(value: float | None) -> float:
    """As Transform scales it: it knows the train split, whose largest is 5."""
    return (
        0.0
        if value is None
        else (min(value, 5.0 if value == math.inf else value) - MEDIAN) / SPREAD
    )


def test_training_reads_a_tap_a_column(
    made: Made, tiny_cut: Callable[..., CutNetwork], tiny_backbone: str
) -> None:
    network = tiny_cut()
    params = TrainingParams(augmentations=("identity", "mirror"), batch_size=4)
    taps = read_image_taps(network, params, made.features["train"], INPUTS)
    assert {name: values.shape[1] for name, values in taps.taps.items() if "table" in name} == {
        column.transformed: column.width for column in COLUMNS
    }
    cells = [made.cells[taps.sha256[image]] for image in taps.images]
    expected = [[_crp(cell.get("crp"))] for cell in cells]
    np.testing.assert_allclose(taps.taps["table_crp"], expected, atol=1e-5)
    assert taps.taps["table_sex"][:, -1].tolist() == ["sex" in cell for cell in cells]
    lengths = np.linalg.norm(taps.taps["table_notes"], axis=1)
    np.testing.assert_allclose(lengths, ["notes" in cell for cell in cells], rtol=1e-5)

    specs: dict[str, Mapping[str, FeatureSpec]] = {tiny_backbone: network.features}
    fused = read_fused({tiny_backbone: made.features["eval"]}, specs, INPUTS)
    expected = [[_crp(made.cells[digest].get("crp"))] for digest in fused.sha256]
    np.testing.assert_allclose(fused.taps["table_crp"], expected, atol=1e-3)


class _Joint(ServedModel):
    """Answers by the image's darkest pixel, and by the columns, each of which adds its sum."""

    def _classify_with_table(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        pngs, *columns = transformed
        darkest = tf.reduce_min(decode_transformed(pngs), axis=[1, 2])
        parts = [tf.reduce_sum(each, axis=1, keepdims=True) for each in columns]
        zero = tf.zeros_like(parts[0])
        logits = [tf.add_n(parts), zero, tf.cast(darkest, tf.float32) / 255]
        return {contract.FLAT: tf.nn.softmax(tf.concat(logits, axis=-1))}


class _Table(ServedModel):
    """Answers by the columns alone."""

    def _classify(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        parts = [tf.reduce_sum(each, axis=1, keepdims=True) for each in transformed]
        zero = tf.zeros_like(parts[0])
        return {contract.FLAT: tf.nn.softmax(tf.concat([tf.add_n(parts), zero, zero], axis=-1))}


@pytest.fixture(scope="module")
def joint(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported version that takes an image, and columns beside it."""
    folder = tmp_path_factory.mktemp("joint") / "1"
    transform = load_transform(str(made.transform))
    export(_Joint(transform, CLASSES, 0.4, [inputs.IMAGE], INPUTS), str(folder))
    return folder


@pytest.fixture(scope="module")
def table(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported version that takes columns alone."""
    folder = tmp_path_factory.mktemp("table") / "1"
    export(_Table(load_transform(str(made.transform)), CLASSES, 0.4, INPUTS), str(folder))
    return folder


def _records(made: Made) -> list[tf.train.Example]:
    (file,) = (Path(made.raw.uri) / "Split-test").iterdir()
    records = tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


def _given(made: Made) -> tuple[np.ndarray, dict[str, Any]]:
    """The test split's images, and their columns as the signature takes them."""
    features = [record.features.feature for record in _records(made)]
    images = np.array([each[contract.IMAGE].bytes_list.value[0] for each in features], object)
    cells = [made.cells[each[contract.SHA256].bytes_list.value[0].decode()] for each in features]
    return images, {
        "crp": np.array([cell.get("crp", math.nan) for cell in cells], np.float32),
        "sex": np.array([cell.get("sex", "") for cell in cells], object),
        "notes": np.array([cell.get("notes", "") for cell in cells], object),
    }


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities[:, 0] / probabilities[:, 1])


def test_the_signatures_take_the_table_beside_the_image(made: Made, joint: Path) -> None:
    loaded = tf.saved_model.load(str(joint))
    with_table = loaded.signatures[contract.SIGNATURE_TABLE]
    _, arguments = with_table.structured_input_signature
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in arguments.items()} == {
        "image_bytes": (tf.string, [None]),
        "crp": (tf.float32, [None]),
        "sex": (tf.string, [None]),
        "notes": (tf.string, [None]),
    }
    default = loaded.signatures[contract.SIGNATURE_DEFAULT]
    assert set(default.structured_input_signature[1]) == {"image_bytes"}
    images, columns = _given(made)
    given = {name: tf.constant(values) for name, values in columns.items()}
    found = with_table(image_bytes=tf.constant(images), **given)[contract.OUTPUT_PROBABILITIES]
    texts, known = columns["notes"] != "", columns["sex"] != ""
    crp = np.array([_crp(None if math.isnan(value) else value) for value in columns["crp"]])
    assert np.allclose((_log_odds(found.numpy()) - crp)[~texts], 2.0 * known[~texts], atol=1e-3)
    serialized = tf.constant([record.SerializeToString() for record in _records(made)])
    by_record = loaded.signatures[contract.SIGNATURE_EXAMPLES](serialized)
    np.testing.assert_allclose(by_record[contract.OUTPUT_PROBABILITIES], found, atol=1e-6)


def test_without_the_table_it_answers_as_with_nothing_in_it(made: Made, joint: Path) -> None:
    loaded = tf.saved_model.load(str(joint))
    images, _ = _given(made)
    bytes_alone = loaded.signatures[contract.SIGNATURE_DEFAULT](image_bytes=tf.constant(images))
    # One value for all rows is what a server feeds where an input is left out.
    nothing = loaded.signatures[contract.SIGNATURE_TABLE](
        image_bytes=tf.constant(images),
        crp=tf.constant([math.nan]),
        sex=tf.constant([b""]),
        notes=tf.constant([b""]),
    )
    for name, value in bytes_alone.items():
        np.testing.assert_array_equal(value, nothing[name])


def test_the_defaults_stand_in_the_signature(joint: Path, table: Path) -> None:
    for folder, name in (
        (joint, contract.SIGNATURE_TABLE),
        (table, contract.SIGNATURE_TABLE),
        (table, contract.SIGNATURE_DEFAULT),
    ):
        (meta,) = read_saved_model(str(folder)).meta_graphs
        defaults = meta.signature_def[name].defaults
        assert set(defaults) == {"crp", "sex", "notes"}
        assert np.isnan(tf.make_ndarray(defaults["crp"])).tolist() == [True]
        assert tf.make_ndarray(defaults["notes"]).tolist() == [b""]
        assert from_json((folder / contract.TABLE_FILE).read_text()) == COLUMNS


def test_a_value_beyond_the_range_is_an_error_that_names_the_column(
    made: Made, joint: Path
) -> None:
    with_table = tf.saved_model.load(str(joint)).signatures[contract.SIGNATURE_TABLE]
    images, _ = _given(made)
    rest = {"sex": tf.constant([b""]), "notes": tf.constant([b""])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="crp is not within 0 to 600 mg/l"):
        with_table(image_bytes=tf.constant(images[:1]), crp=tf.constant([812.0]), **rest)
    with pytest.raises(tf.errors.InvalidArgumentError, match="crp: there must be one value"):
        with_table(image_bytes=tf.constant(images), crp=tf.constant([8.0, 1.0]), **rest)
    assert with_table(image_bytes=tf.constant(images[:1]), crp=tf.constant([math.inf]), **rest)


def test_a_table_alone_is_a_model_too(made: Made, table: Path) -> None:
    loaded = tf.saved_model.load(str(table))
    _, columns = _given(made)
    given = {name: tf.constant(values) for name, values in columns.items()}
    found = [
        loaded.signatures[name](**given)[contract.OUTPUT_PROBABILITIES].numpy()
        for name in (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_TABLE)
    ]
    np.testing.assert_array_equal(*found)
    assert len(found[0]) == PER_SPLIT
    alone = loaded.signatures[contract.SIGNATURE_TABLE](
        crp=tf.constant([1.0, 5.0]), sex=tf.constant([b""]), notes=tf.constant([b""])
    )
    log_odds = _log_odds(alone[contract.OUTPUT_PROBABILITIES].numpy())
    np.testing.assert_allclose(log_odds, [_crp(1.0), _crp(5.0)], atol=1e-5)


def test_a_server_is_asked_in_every_form(
    made: Made, joint: Path, table: Path, served_in_thread: None
) -> None:
    for version, forms in ((joint, 5), (table, 5)):
        samples = choose_samples(made.raw, {}, 2, inputs.of_columns(read_columns(version)))
        assert {math.isnan(sample.given["crp"]) for sample in samples} == {True, False}
        findings = check_served(version, samples)
        assert findings.failures == []
        assert findings.requests == forms * len(samples)


def _instances(image: bytes, *rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    encoded = {"b64": base64.b64encode(image).decode()}
    return [{"image_bytes": encoded, **row} for row in rows]


def test_rows_and_columns_over_rest_may_lack_any_column(made: Made, joint: Path) -> None:
    servable = TensorFlowServable(joint)
    images, _ = _given(made)
    rows: list[dict[str, Any]] = [
        {},
        {"crp": 5.0},
        {"sex": "F", "crp": -math.inf},
        {"notes": "fever"},
    ]
    columns: dict[str, Any] = {
        "crp": [math.nan, 5.0, -math.inf, math.nan],
        "sex": ["", "", "F", ""],
        "notes": ["", "", "", "fever"],
    }
    encoded = {"b64": base64.b64encode(images[0]).decode()}
    bodies: list[dict[str, Any]] = [
        {"instances": _instances(images[0], *rows)},
        {"inputs": {"image_bytes": [encoded] * 4, **columns}},
    ]
    found = []
    for body in bodies:
        text = json.dumps({"signature_name": contract.SIGNATURE_TABLE, **body}).encode()
        request = parse_predict(text, servable.input_specs)
        answer = servable.run(request.signature_name, request.inputs)
        found.append(answer[contract.OUTPUT_PROBABILITIES])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(_log_odds(found[0])[:2], [0, _crp(5.0)], atol=1e-4)


def test_a_wrong_type_names_the_column(made: Made, joint: Path) -> None:
    servable = TensorFlowServable(joint)
    images, _ = _given(made)
    (row,) = _instances(images[0], {"crp": "high"})
    bodies: list[dict[str, Any]] = [
        {"instances": [row]},
        {"inputs": {name: [value] for name, value in row.items()}},
    ]
    for body in bodies:
        text = json.dumps({"signature_name": contract.SIGNATURE_TABLE, **body}).encode()
        with pytest.raises(ServingError, match="key: crp") as error:
            parse_predict(text, servable.input_specs)
        assert error.value.http_status == 400
    given = {"image_bytes": images[:1], "crp": np.array([b"high"], object)}
    with pytest.raises(ServingError, match=r"input crp of .* takes float, and got object") as error:
        servable.run(contract.SIGNATURE_TABLE, given)
    assert error.value.http_status == 400
    given = {"image_bytes": images[:1], "crp": np.array([700], np.float32)}
    with pytest.raises(ServingError, match="crp is not within 0 to 600 mg/l") as error:
        servable.run(contract.SIGNATURE_TABLE, given)
    assert error.value.http_status == 400


@pytest.fixture(scope="module")
def files(made: Made, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three images of the test split."""
    folder = tmp_path_factory.mktemp("images")
    images, _ = _given(made)
    for number, content in enumerate(images[:3]):
        (folder / f"{number}.png").write_bytes(content)
    return sorted(folder.iterdir())


def _log_odds_of(results: list[dict[str, Any]]) -> list[float]:
    rows = [result["probabilities"] for result in results]
    return [math.log(row[CLASSES[0]] / row[CLASSES[1]]) for row in rows]


@pytest.mark.parametrize("model", ["joint", "table"])
def test_predict_reads_a_table_by_the_files_names(
    model: str,
    request: pytest.FixtureRequest,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models" / "champion").mkdir(parents=True)
    # A link, so that it isn't loaded once more.
    (tmp_path / "models" / "champion" / "1").symlink_to(request.getfixturevalue(model))
    (tmp_path / "rows.csv").write_text("file,crp_val,sex\n0.png,5,\n1.png,,M\nother.png,3,\n")
    images: list[str | Path] = ["predict", *files, "--json"]
    places: list[str | Path] = ["--model-dir", tmp_path / "models"]
    expected = [_crp(5.0), 2.0, 0.0]

    assert cxr(monkeypatch, *images, *places, "--table", tmp_path / "rows.csv") == 0
    said = capfd.readouterr()
    assert "1 of 3 files have no row" in said.err and "other.png" in said.err
    np.testing.assert_allclose(_log_odds_of(json.loads(said.out)), expected, atol=1e-4)

    with server_in_thread(load_servable, model_dir=tmp_path / "models") as server:
        # A server tells the signature's names alone.
        (tmp_path / "named.csv").write_text("file;crp;sex\n0.png;5;\n1.png;;M\n")
        table: list[str | Path] = ["--table", tmp_path / "named.csv"]
        assert cxr(monkeypatch, *images, "--url", server.url, *table) == 0
        found = json.loads(capfd.readouterr().out)
        np.testing.assert_allclose(_log_odds_of(found), expected, atol=1e-4)

    (tmp_path / "rows.csv").write_text("file,crp_val\n0.png,900\n")
    assert cxr(monkeypatch, *images, *places, "--table", tmp_path / "rows.csv") == 2
    assert "line 2: crp_val 900 mg/l is above 600 mg/l" in " ".join(capfd.readouterr().err.split())
