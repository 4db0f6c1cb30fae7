"""Examples → statistics → validation → gate → a node behind it, all in TFX itself."""

# No `from __future__ import annotations`: TFX reads the annotations of `Behind`.

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.curated_schema_gen import CuratedSchemaGen
from components.schema_gate import SchemaGate
from schema import SCHEMA_DIR, contract
from schema.errors import InputError

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


@pytest.fixture
def run(
    tmp_path: Path, launch: Callable[..., Any]
) -> Callable[[Mapping[str, Sequence[Image]]], None]:
    """Runs the nodes over splits of images."""

    def validate(splits: Mapping[str, Sequence[Image]]) -> None:
        for split, images in splits.items():
            folder = tmp_path / "examples" / f"Split-{split}"
            folder.mkdir(parents=True)
            path = str(folder / "data_tfrecord-00000-of-00001.gz")
            with tf.io.TFRecordWriter(path, "GZIP") as writer:
                for image in images:
                    writer.write(_serialize(image))
        examples = tfx.dsl.Importer(
            source_uri=str(tmp_path / "examples"),
            artifact_type=standard_artifacts.Examples,
            properties={"split_names": json.dumps(list(splits))},
            custom_properties={
                "payload_format": "FORMAT_TF_EXAMPLE",
                "file_format": "tfrecords_gzip",
            },
        ).with_id("Examples")
        statistics = tfx.components.StatisticsGen(
            examples=examples.outputs["result"],
            stats_options=tfdv.StatsOptions(
                feature_allowlist=sorted(set(IMAGE) - set(contract.PIXEL_FEATURES))
            ),
        )
        schema = CuratedSchemaGen(SCHEMA_DIR / "schema.pbtxt")
        validator = tfx.components.ExampleValidator(
            statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
        )
        gate = SchemaGate(code_digest="x", anomalies=validator.outputs["anomalies"])
        behind = Behind(folder=str(tmp_path / "behind"))
        behind.add_upstream_node(gate)
        launch(examples, statistics, schema, validator, gate, behind)

    return validate


def test_clean_images_pass(run: Callable[..., None], tmp_path: Path) -> None:
    run(
        {
            "train": [_but(AGE=[0.0]), _but(AGE=[120.0]), _but(AGE=None, SEX=[b"F"])],
            "eval": [_but(AGE=None), _but(AGE=None)],
        }
    )
    assert (tmp_path / "behind").exists()
    (verdict,) = (tmp_path / "root").glob("SchemaGate/verdict/*/value")
    assert verdict.read_text() == "no anomaly in train, eval"
    files = list((tmp_path / "root").rglob("FeatureStats.pb"))
    assert len(files) == 2
    for file in files:
        (dataset,) = tfdv.load_stats_binary(str(file)).datasets
        names = {feature.path.step[0] for feature in dataset.features}
        assert contract.SEX in names
        assert contract.IMAGE not in names


@pytest.mark.parametrize(
    ("split", "images", "sentence"),
    [
        ("train", [IMAGE, _but(SEX=[b"female"])], r"feature patient/sex: .*female \(~50%\)\."),
        ("eval", [IMAGE, _but(AGE=[300.0])], r"feature patient/age: .*300>120"),
        ("test", [_but(VIEW=None)], r"feature image/view: Column is completely missing\."),
        ("train", [IMAGE, _but(VIEW=None)], r"feature image/view: .*fewer examples"),
        ("eval", [IMAGE, _but(MEAN=[float("nan")])], r"feature image/mean: .*NaN"),
    ],
)
def test_an_anomaly_stops_the_run(
    run: Callable[..., None], tmp_path: Path, split: str, images: list[Image], sentence: str
) -> None:
    with pytest.raises(InputError, match=f"Split {split}, {sentence}") as error:
        run({split: images})
    assert len([line for line in str(error.value).splitlines() if line.startswith("  ")]) == 1
    assert not (tmp_path / "behind").exists()
    assert not list((tmp_path / "root").glob("SchemaGate/verdict/*/value"))


def test_a_split_without_images_stops_the_run(run: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Split test: there are no examples\."):
        run({"train": [IMAGE], "test": []})
    assert not (tmp_path / "behind").exists()
