"""Columns of the table in Transform's graph, against NumPy, and the same graph once it is saved."""

from __future__ import annotations

import dataclasses
import math
import pickle
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from common.in_process_beam import in_process
from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402
import tensorflow_transform as tft  # noqa: E402
import tensorflow_transform.beam as tft_beam  # noqa: E402
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils  # noqa: E402
from tfx_bsl import sketches  # noqa: E402

from models.saved_functions import load_functions  # noqa: E402
from models.signatures import ImageModel, export, load_transform  # noqa: E402
from models.table_transform import _RANKS_OFF, COLUMN_MAKERS, masks, words_in_a_row  # noqa: E402
from schema import contract, inputs  # noqa: E402
from schema.table import TableColumn  # noqa: E402

Values = Sequence[float | str | None]
INF = math.inf


def _made(
    columns: Sequence[TableColumn], train: Mapping[str, Values], folder: Path
) -> tft.TFTransformOutput:
    """Analyzes a table; a value that is None is missing."""
    taken = inputs.of_columns(columns)

    def preprocess(features: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        return {
            each.transformed.name: COLUMN_MAKERS[each.made_by](column, features[each.raw.name])
            for column, each in zip(columns, taken, strict=True)
        }

    spec = {each.raw.name: tf.io.VarLenFeature(each.raw.dtype) for each in taken}
    known = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [
        {
            each.raw.name: [] if value is None else [value]
            for each, value in zip(taken, row, strict=True)
        }
        for row in zip(*(train[column.name] for column in columns), strict=True)
    ]
    with (
        tft_beam.Context(temp_dir=str(folder / "scratch")),
        in_process(beam.Pipeline(argv=[])) as pipeline,
    ):
        # Shuffled, they'd go to Beam's own runner.
        data = pipeline | beam.Create(rows, reshuffle=False)
        function = (data, known) | tft_beam.AnalyzeDataset(preprocess)
        _ = function | tft_beam.WriteTransformFn(str(folder / "graph"))
    return tft.TFTransformOutput(str(folder / "graph"))


def _asked(
    graph: tft.TFTransformOutput, columns: Sequence[TableColumn], rows: Mapping[str, Values]
) -> dict[str, np.ndarray]:
    given = {}
    for each in inputs.of_columns(columns):
        values = rows[each.served]
        there = [row for row, value in enumerate(values) if value is not None]
        given[each.raw.name] = tf.SparseTensor(
            np.array([[row, 0] for row in there], np.int64).reshape(-1, 2),
            tf.constant([values[row] for row in there], each.raw.dtype),
            [len(values), 1],
        )
    made = graph.transform_features_layer()(given)
    return {name: value.numpy() for name, value in made.items()}


NUMBERS = TableColumn("crp", "crp_val", "numeric")
LIMITS = TableColumn("dd", "d-dimer", "numeric", detection_low=0.5, detection_high=4.0)
SAME = TableColumn("same", "same", "numeric")
NEVER = TableColumn("never", "never", "numeric", presence=True)
SEX = TableColumn("sex", "sex", "categorical", values=3, presence=True)
NOTES = TableColumn("notes", "notes", "text", buckets=32, presence=True, mask=("ICU",))
COLUMNS = (NUMBERS, LIMITS, SAME, NEVER, SEX, NOTES)
TRAIN: Mapping[str, Values] = {
    "crp": [1.0, 2.0, None, 4.0, 10.0, math.nan, INF, -INF, 3.0],
    "dd": [0.1, 1.0, 2.0, 9.0, -INF, INF, None, 3.0, 1.0],
    "same": [5.0, None, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0],
    "never": [None] * 9,
    "sex": ["F", "m", "M ", "f", "F", None, "", "other", "x"],
    "notes": ["cough and fever", "fever", "", None, "cough", "ICU", "a", "b", "c"],
}


def _any() -> tuple[tuple[TableColumn, TableColumn], list[float | None]]:
    """A column of any numbers, scaled about its mean, with a flag of presence; and its median.

    Some values are missing, and some are no numbers.
    """
    random = np.random.default_rng(1)
    cells = random.normal(1e6, 10, 30).astype(np.float32)
    values: list[float | None] = cells.tolist()
    for place, instead in enumerate([None, math.nan, INF, -INF] * 3):
        values[2 * place] = instead
    columns = (
        TableColumn("mean", "mean", "numeric", impute="mean", presence=True),
        dataclasses.replace(
            NUMBERS, name="median", column="median", detection_low=float(cells.min())
        ),
    )
    return columns, values


ALL = (*COLUMNS, *_any()[0])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    """Of all columns at once. What a column has fewer rows is missing."""
    columns, values = _any()
    train = {**TRAIN, **{column.name: values for column in columns}}
    most = max(len(values) for values in train.values())
    filled = {name: [*values, *[None] * (most - len(values))] for name, values in train.items()}
    return _made(ALL, filled, tmp_path_factory.mktemp("transform"))


def test_any_table_is_scaled_as_numpy_would(graph: tft.TFTransformOutput) -> None:
    (of_mean, of_median), values = _any()
    means, medians = (_one(graph, column.name, values) for column in (of_mean, of_median))
    least = of_median.detection_low
    known = np.array([each for each in values if each is not None], np.float64)
    known = known[np.isfinite(known)]
    spread = known.std() or math.inf
    for value, mean, median in zip(values, means, medians, strict=True):
        if value is None or math.isnan(value):
            assert (*mean, *median) == (0, 0, 0)
        else:
            clipped = float(np.clip(value, known.min(), known.max()))
            np.testing.assert_allclose(
                mean, [(clipped - known.mean()) / spread, 1], rtol=1e-3, atol=1e-3
            )
            ordered = np.sort(known)
            ends = ordered[[(len(known) - 1) // 2, len(known) // 2]]
            # -inf counts as the limit, though the least number may have become something else.
            scaled = (float(np.clip(value, least, known.max())) - ends) / spread
            assert min(abs(scaled - median)) < 1e-3


def _one(graph: tft.TFTransformOutput, name: str, values: Values) -> np.ndarray:
    rows: dict[str, Values] = {column.name: [None] * len(values) for column in ALL}
    return _asked(graph, ALL, {**rows, name: values})[f"table_{name}"]


def test_numbers_are_scaled_about_the_median_and_what_is_missing_is_zero(
    graph: tft.TFTransformOutput,
) -> None:
    measured = np.array([1, 2, 3, 4, 10.0])
    asked = [1.0, None, math.nan, 3.0, 10.0, 600.0]
    found = _one(graph, "crp", asked)
    expected = (np.array([1, 3, 3, 3, 10, 600]) - np.median(measured)) / measured.std()
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_infinities_are_the_least_and_the_most_where_no_limit_is_given(
    graph: tft.TFTransformOutput,
) -> None:
    found = _one(graph, "crp", [-INF, 1.0, INF, 10.0])[:, 0]
    assert found[0] == found[1] and found[2] == found[3]


def test_detection_limits_clip_what_is_measured_too(graph: tft.TFTransformOutput) -> None:
    measured = np.clip([0.1, 1, 2, 9, 3, 1], 0.5, 4)
    found = _one(graph, "dd", [-INF, 0.2, INF, 7.0])[:, 0]
    # Of an even number the sketch gives one of the two in the middle.
    middle = [(np.array([0.5, 0.5, 4, 4]) - one) / measured.std() for one in (1.0, 2.0)]
    assert any(np.allclose(found, each, rtol=1e-5) for each in middle)


def test_a_constant_column_and_one_without_values_are_zero(graph: tft.TFTransformOutput) -> None:
    assert not _one(graph, "same", [5.0, 7.0, None, INF]).any()
    never = _one(graph, "never", [3.0, None, INF])
    assert not never[:, 0].any() and never[:, 1].tolist() == [1, 0, 1]


def test_words_by_how_frequent_they_are_and_one_place_for_all_others(
    graph: tft.TFTransformOutput,
) -> None:
    found = _one(graph, "sex", ["F", "f", "M", "unheard of", "", None])
    assert found.shape == (6, 5)
    assert found[:, 0].tolist() == [1, 1, 0, 0, 0, 0]
    assert found[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert found[:, 3].tolist() == [0, 0, 0, 1, 0, 0], "out of the vocabulary"
    assert found[:, 4].tolist() == [1, 1, 1, 1, 0, 0], "presence"


def test_texts_are_hashed_and_scaled_to_one(graph: tft.TFTransformOutput) -> None:
    found = _one(graph, "notes", ["fever, COUGH", "Fever cough", "icu", "", None, "icu fever"])
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(np.linalg.norm(found[:2, :-1], axis=1), 1, rtol=1e-5)
    assert not found[2:5, :-1].any()
    assert found[:, -1].tolist() == [1, 1, 1, 0, 0, 1]
    np.testing.assert_allclose(found[5], _one(graph, "notes", ["fever"])[0])


def test_the_analyzers_see_nothing_of_a_missing_table(graph: tft.TFTransformOutput) -> None:
    found = _asked(graph, ALL, {column.name: [None, None] for column in ALL})
    assert {name: value.shape[1] for name, value in found.items()} == {
        column.transformed: column.width for column in ALL
    }
    assert not any(value.any() for value in found.values())


class _Sexes(tf.Module):
    """The graph, in front of a model that takes the bytes of an "image" for a sex."""

    def __init__(self, graph: Path) -> None:
        super().__init__()
        self.layer = load_transform(str(graph))

    def __call__(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        words = features[contract.IMAGE]
        size = tf.shape(words, tf.int64)[0]
        given = {
            each.raw.name: tf.SparseTensor(
                tf.zeros([0, 2], tf.int64), tf.zeros([0], each.raw.dtype), [size, 1]
            )
            for each in inputs.of_columns(ALL)
        }
        (sex,) = inputs.of_columns([SEX])
        places = tf.stack([tf.range(size), tf.zeros_like(tf.range(size))], axis=1)
        given[sex.raw.name] = tf.SparseTensor(places, words, [size, 1])
        entry = tf.argmax(self.layer(given)[SEX.transformed], axis=1)
        return {contract.TRANSFORMED_IMAGE: tf.strings.as_string(entry)}


class _WithVocabulary(ImageModel):
    """Answers with the entry of a vocabulary that the transform graph looked up."""

    def _classify(self, pngs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {contract.FLAT: tf.one_hot(tf.strings.to_number(pngs, tf.int64), 2)}

    def _network(self, pixels: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {contract.FLAT: tf.reduce_mean(pixels, axis=[1, 2]) * [[0.5, 0.5]]}

    def _explained(self, pngs: tf.Tensor) -> tuple[Mapping[str, tf.Tensor], tf.Tensor]:
        return self._classify(pngs), tf.ones([tf.shape(pngs)[0], 256, 256])


def test_a_transform_graph_with_a_vocabulary_is_exported_with_it(
    graph: tft.TFTransformOutput, tmp_path: Path
) -> None:
    folder = Path(graph.transform_savedmodel_dir).parent
    copy = Path(shutil.copytree(folder, tmp_path / "graph"))
    model = _WithVocabulary(_Sexes(copy), ["often", "seldom"], 0.5)
    export(model, str(tmp_path / "model"))
    shutil.rmtree(copy)
    loaded = load_functions(str(tmp_path / "model"), signatures=(contract.SIGNATURE_DEFAULT,))
    answers = loaded.signatures[contract.SIGNATURE_DEFAULT](image_bytes=tf.constant([b"m", b"F"]))
    assert answers[contract.OUTPUT_PREDICTED].numpy().tolist() == [b"seldom", b"often"]


def test_masked_words_are_whole_and_nothing_is_joined_over_them() -> None:
    mask = ("covid-19", "ICU", "intensive care")
    texts = tf.constant(
        ["Went to ICU today", "intensive care unit", "COVID-19 pos", "icus ÜBER icu icu x", ""]
    )
    found = words_in_a_row(texts, mask, (1, 2)).to_list()
    assert [sorted(word.decode() for word in row) for row in found] == [
        ["to", "today", "went", "went to"],
        ["unit"],
        ["pos"],
        ["icus", "icus über", "x", "über"],
        [],
    ]
    assert masks(("-", "")) == []


def test_the_same_words_with_other_signs_between_them_are_the_same() -> None:
    texts = tf.constant(["fever;cough\nrash", "Fever  cough — RASH!"])
    one, other = words_in_a_row(texts, (), (1, 3)).to_list()
    assert one == other and len(one) == 6


def test_what_finds_a_median_stays_small_and_finds_it() -> None:
    """Beam has several copies of it under way at once, for each column."""
    sketch = sketches.QuantilesSketch(_RANKS_OFF, 1 << 32, 1)
    values = np.random.default_rng(0).lognormal(size=300_000)
    for part in np.array_split(values, 1200):
        sketch.AddValues(pa.array(part))
    assert len(pickle.dumps(sketch)) < 2_000_000
    ((_, median, _),) = sketch.GetQuantiles(2).to_pylist()
    assert abs(np.mean(values < median) - 0.5) <= _RANKS_OFF
