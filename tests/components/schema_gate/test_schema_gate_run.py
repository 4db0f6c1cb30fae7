"""Examples → statistics → validation → gate → a node behind it, all in TFX itself."""

# No `from __future__ import annotations`: TFX reads the annotations of `Behind`.

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from common.errors import InputError
from components.curated_schema_gen import CuratedSchemaGen
from components.schema_gate import SchemaGate
from schema import SCHEMA_DIR, contract

pytestmark = pytest.mark.slow

IMAGE: dict[str, list[Any]] = {
    contract.LABEL: [1],
    contract.LABEL_TEXT: [b"Normal"],
    contract.PATH: [b"Normal/1.png"],
    contract.SHA256: [b"0" * 64],
    contract.WIDTH: [1024],
    contract.HEIGHT: [1024],
    contract.BYTES: [300_000],
    contract.MEAN: [127.0],
    contract.STD: [60.0],
    contract.ENTROPY: [7.5],
    contract.GROUP: [b"0a"],
    contract.PATIENT: [b"unknown"],
    contract.SEX: [b"unknown"],
    contract.AGE: [50.0],
    contract.AGE_GROUP: [b"adult"],
    contract.VIEW: [b"PA"],
    contract.SOURCE: [b"somewhere"],
    contract.IMAGE: [b"\x89PNG"],
}
Image = Mapping[str, Sequence[Any]]


@tfx.dsl.components.component
def Behind(folder: tfx.dsl.components.Parameter[str]) -> None:  # noqa: N802 (a node's name)
    """Shows that it ran."""
    Path(folder).mkdir()


def _but(**changes: Sequence[Any] | None) -> dict[str, Sequence[Any]]:
    """An image with other features, by the names of `contract`; None leaves one out."""
    named = {getattr(contract, name): value for name, value in changes.items()}
    return {key: value for key, value in (IMAGE | named).items() if value is not None}


def _serialize(image: Image) -> bytes:
    kinds = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    record = tf.train.Example()
    for name, values in image.items():
        getattr(record.features.feature[name], kinds[type(values[0])]).value.extend(values)
    return record.SerializeToString()


Splits = Mapping[str, Sequence[Image]]
Run = Callable[..., None]
OPTIONS = tfdv.StatsOptions(feature_allowlist=sorted(set(IMAGE) - set(contract.PIXEL_FEATURES)))


def _statistics_gen(splits: Splits, folder: Path) -> list[Any]:
    """Nodes: examples, and StatisticsGen behind them."""
    for split, images in splits.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        path = str(folder / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for image in images:
                writer.write(_serialize(image))
    examples = tfx.dsl.Importer(
        source_uri=str(folder),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": json.dumps(list(splits))},
        custom_properties={
            "payload_format": "FORMAT_TF_EXAMPLE",
            "file_format": "tfrecords_gzip",
        },
    ).with_id("Examples")
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["result"], stats_options=OPTIONS
    )
    return [examples, statistics]


def _made_statistics(splits: Splits, folder: Path) -> Any:
    """A node with the statistics that StatisticsGen would compute, without Beam."""
    for split, images in splits.items():
        batch = ExamplesToRecordBatchDecoder().DecodeBatch([_serialize(image) for image in images])
        statistics = stats_impl.generate_statistics_in_memory(batch, OPTIONS)
        (folder / f"Split-{split}").mkdir(parents=True)
        file = folder / f"Split-{split}" / "FeatureStats.pb"
        file.write_bytes(statistics.SerializeToString())
    return tfx.dsl.Importer(
        source_uri=str(folder),
        artifact_type=standard_artifacts.ExampleStatistics,
        properties={"split_names": json.dumps(list(splits))},
    ).with_id("Statistics")


@pytest.fixture
def run(tmp_path: Path, launch: Callable[..., Any], quick_beam: None) -> Run:
    """Runs the nodes over splits of images; StatisticsGen only where `generated`."""

    def validate(splits: Splits, *, generated: bool = True) -> None:
        if generated:
            nodes = _statistics_gen(splits, tmp_path / "examples")
            statistics = nodes[-1].outputs["statistics"]
        else:
            nodes = [_made_statistics(splits, tmp_path / "statistics")]
            statistics = nodes[-1].outputs["result"]
        schema = CuratedSchemaGen(SCHEMA_DIR / "schema.pbtxt")
        validator = tfx.components.ExampleValidator(
            statistics=statistics, schema=schema.outputs["schema"]
        )
        gate = SchemaGate(code_digest="x", anomalies=validator.outputs["anomalies"])
        behind = Behind(folder=str(tmp_path / "behind"))
        behind.add_upstream_node(gate)
        launch(*nodes, schema, validator, gate, behind)

    return validate


def test_clean_images_pass(run: Run, tmp_path: Path) -> None:
    run({"train": [_but(AGE=[0.0]), _but(AGE=[120.0]), _but(AGE=None, SEX=[b"F"])]})
    assert (tmp_path / "behind").exists()
    (verdict,) = (tmp_path / "root").glob("SchemaGate/verdict/*/value")
    assert verdict.read_text() == "no anomaly in train"
    (file,) = (tmp_path / "root").rglob("FeatureStats.pb")
    (dataset,) = tfdv.load_stats_binary(str(file)).datasets
    names = {feature.path.step[0] for feature in dataset.features}
    assert contract.SEX in names
    assert contract.IMAGE not in names


def test_anomalies_stop_the_run(run: Run, tmp_path: Path) -> None:
    """Several in one split, one and none in others."""
    splits = {
        "train": [
            _but(SEX=[b"female"], AGE=[300.0]),
            _but(SEX=[b"female"], VIEW=None),
            _but(MEAN=[float("nan")]),
            IMAGE,
        ],
        "clean": [_but(AGE=None), _but(AGE=None)],
        "eval": [_but(VIEW=None)],
    }
    sentences = [
        r"Split train, feature patient/sex: .*female \(~50%\)\.",
        r"Split train, feature patient/age: .*300>120",
        r"Split train, feature image/view: .*fewer examples",
        r"Split train, feature image/mean: .*NaN",
        r"Split eval, feature image/view: Column is completely missing\.",
    ]
    with pytest.raises(InputError) as error:
        run(splits, generated=False)
    said = [line.strip() for line in str(error.value).splitlines() if line.startswith("  ")]
    assert len(said) == len(sentences)
    for sentence in sentences:
        assert len([line for line in said if re.match(sentence, line)]) == 1, (sentence, said)
    assert not (tmp_path / "behind").exists()
    assert not list((tmp_path / "root").glob("SchemaGate/verdict/*/value"))


def test_a_split_without_images_stops_the_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Split test: there are no examples\."):
        run({"test": []})
    assert not (tmp_path / "behind").exists()
