"""A shard, read by TFX's own tools."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_serving.apis import prediction_log_pb2
from tfx.components.bulk_inferrer import prediction_to_example_utils
from tfx.proto import bulk_inferrer_pb2

from schema import contract
from serving.core.manager import Lent
from serving.core.observing import Asked
from serving.prediction_log.examples import ANSWER_ABSTAIN, ANSWER_CLASS, VERSION, examples_of
from serving.prediction_log.log import PredictionLog
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.protocol.tensors import strings
from tests.serving.prediction_log.logged import Radiologist, png, records


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty requests of an image, and one of two."""
    folder = tmp_path_factory.mktemp("log")
    servable, target = Radiologist(), LogTarget(folder / "log")
    signature = servable.signatures["serving_default"]
    log = PredictionLog(LogSettings())
    requests = [[png(seed, 30 + seed)] for seed in range(20)] + [[png(1), png(2)]]
    for images in requests:
        inputs = {contract.INPUT_IMAGES: strings(images)}
        lent = Lent("lungs", 7, servable, target)
        asked = Asked(lent, signature, signature.method, inputs, inputs)
        log(asked, servable.run("serving_default", inputs))
    log.close()
    (path,) = folder.glob("*.tfrecord")
    return path


def test_tfdv_reads_a_shard_in_beam(shard: Path, tmp_path: Path) -> None:
    """Beam's source of raw records, examples, and TFDV's statistics of them."""
    out = str(tmp_path / "stats.pb")
    with beam.Pipeline() as pipeline:
        (
            pipeline
            | beam.io.ReadFromTFRecord(
                str(shard), coder=beam.coders.ProtoCoder(prediction_log_pb2.PredictionLog)
            )
            | beam.FlatMap(examples_of)
            | beam.Map(lambda example: example.SerializeToString())
            | beam.io.WriteToTFRecord(str(tmp_path / "examples"), file_name_suffix=".tfrecord")
        )
    found = tfdv.generate_statistics_from_tfrecord(str(tmp_path / "examples*.tfrecord"), out)
    (dataset,) = found.datasets
    assert dataset.num_examples == 22
    by_name = {feature.path.step[0]: feature for feature in dataset.features}
    assert {contract.SHA256, contract.MEAN, ANSWER_CLASS, contract.ANSWER} <= set(by_name)
    widths = by_name[contract.WIDTH].num_stats
    assert (widths.min, widths.max) == (31.0, 50.0)
    assert by_name[ANSWER_CLASS].string_stats.rank_histogram.buckets[0].label == "COVID-19"
    # And the distance to itself is none.
    schema = tfdv.infer_schema(found)
    tfdv.get_feature(schema, contract.MEAN).drift_comparator.jensen_shannon_divergence.threshold = 0
    anomalies = tfdv.validate_statistics(found, schema, previous_statistics=found)
    (info,) = anomalies.drift_skew_info
    assert info.drift_measurements[0].value == pytest.approx(0, abs=1e-6)


def test_examples_hold_request_and_answer(shard: Path) -> None:
    (first, *_) = records(shard)
    (example,) = examples_of(first)
    features = example.features.feature
    assert features[ANSWER_CLASS].bytes_list.value[:] == [b"COVID-19"]
    assert features[contract.ANSWER].float_list.value[:] == pytest.approx([0.5, 0.3, 0.2])
    assert features[ANSWER_ABSTAIN].int64_list.value[:] == [1]
    assert features[VERSION].int64_list.value[:] == [7]
    assert len(features[contract.SHA256].bytes_list.value[0]) == 64


def test_bulk_inferrers_own_converter_reads_a_record_of_an_example(tmp_path: Path) -> None:
    servable = Radiologist()
    example = tf.train.Example()
    example.features.feature[contract.IMAGE].bytes_list.value.append(png())
    inputs = {contract.INPUT_EXAMPLES: np.array([example.SerializeToString()], np.object_)}
    lent = Lent("lungs", 7, servable, LogTarget(tmp_path / "log"))
    signature = servable.signatures["serve_examples"]
    log = PredictionLog(LogSettings())
    log(
        Asked(lent, signature, signature.method, inputs, inputs),
        servable.run("serve_examples", inputs),
    )
    log.close()
    (record,) = records(tmp_path)
    spec = bulk_inferrer_pb2.OutputExampleSpec()
    columns = spec.output_columns_spec.add(signature_name="serve_examples").predict_output
    columns.output_columns.add(output_key=contract.OUTPUT_PROBABILITIES, output_column="p")
    converted = prediction_to_example_utils.convert(record, spec)
    features = converted.features.feature
    assert features["p"].float_list.value[:] == pytest.approx([0.5, 0.3, 0.2])
    assert features[contract.WIDTH].int64_list.value[:] == [33]
