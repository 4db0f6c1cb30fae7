"""The distance between the statistics of two sets of images, by TFDV."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.report.images import COLUMNS, NUMBERS
from schema import contract
from schema.table import FINITE_PREFIX, RAW_PREFIX

# TFDV's measures, 0..1, from which on a difference is pointed out. Between 369 and 129 images
# of one kind, drawn at random, chance alone came to 0.07.
NOTICEABLE: Final = 0.15
# TFDV measures nothing where a column has no value at all, and passes over single ones.
KNOWN_SHARE: Final = "DIFFERENCE_OF_KNOWN_SHARES"
_FEATURES: Final = {**NUMBERS, "age": contract.AGE, **COLUMNS, "class": contract.LABEL_TEXT}
_MEASURES: Final = anomalies_pb2.DriftSkewInfo.Measurement.Type.Name


def drift(
    statistics_uri: str, schema_uri: str, previous_uri: str | None
) -> dict[str, list[dict[str, Any]] | None]:
    """Compare the splits with each other, and with what an earlier run had.

    Args:
        statistics_uri: StatisticsGen's `statistics`.
        schema_uri: the curated `schema`.
        previous_uri: PreviousStatistics' `statistics`; nothing is in it where nothing was pushed
            that was trained on other images.

    Returns:
        `eval` and `test`, each against train, and `previous`: the earlier train split against
        this one (None where there is none). Rows: `feature`, `measure` (TFDV's name), `value`
        (0..1), `noticeable`; the furthest apart first.
    """
    schema = tfdv.load_schema_text(f"{schema_uri}/schema.pbtxt")
    train = _statistics(statistics_uri, contract.SPLIT_TRAIN)
    found: dict[str, list[dict[str, Any]] | None] = {
        split: distances(_statistics(statistics_uri, split), train, schema)
        for split in (contract.SPLIT_EVAL, contract.SPLIT_TEST)
    }
    found["previous"] = (
        distances(train, _statistics(previous_uri, contract.SPLIT_TRAIN), schema)
        if previous_uri and tf.io.gfile.exists(_file(previous_uri, contract.SPLIT_TRAIN))
        else None
    )
    return found


def _statistics(uri: str, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    return tfdv.load_stats_binary(_file(uri, split))


def _file(uri: str, split: str) -> str:
    return f"{uri}/Split-{split}/FeatureStats.pb"


def distances(
    now: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
) -> list[dict[str, Any]]:
    """Compute how far two sets of images are apart.

    Args:
        now: their statistics.
        before: those of the others.
        schema: names the features, and which of them are texts.

    Returns:
        Rows: `feature`, `measure` (TFDV's name, or KNOWN_SHARE), `value` (0..1), `noticeable`; the
        furthest apart first.
    """
    compared = schema_pb2.Schema()
    compared.CopyFrom(schema)
    names = {feature: name for name, feature in _FEATURES.items()} | _of_table(schema)
    for feature in compared.feature:
        if feature.name not in names:
            continue
        comparator = feature.drift_comparator
        if feature.type == schema_pb2.BYTES:
            comparator.infinity_norm.threshold = NOTICEABLE
        else:
            comparator.jensen_shannon_divergence.threshold = NOTICEABLE
    anomalies = tfdv.validate_statistics(now, compared, previous_statistics=before)
    rows = [
        {
            "feature": names[info.path.step[0]],
            "measure": _MEASURES(measurement.type),
            "value": measurement.value,
            "noticeable": measurement.value > NOTICEABLE,
        }
        for info in anomalies.drift_skew_info
        for measurement in info.drift_measurements
    ]
    rows += [
        {"feature": name, "measure": KNOWN_SHARE, "value": gap, "noticeable": gap > NOTICEABLE}
        for feature, name in names.items()
        if (gap := abs(_known_share(now, feature) - _known_share(before, feature)))
    ]
    return sorted(rows, key=lambda row: (-row["value"], row["feature"]))


def _of_table(schema: schema_pb2.Schema) -> dict[str, str]:
    """Find the features of columns that models take, as statistics have them, and their names."""
    found = {}
    for feature in schema.feature:
        if feature.name.startswith(FINITE_PREFIX):
            found[feature.name] = RAW_PREFIX + feature.name.removeprefix(FINITE_PREFIX)
        elif feature.name.startswith(RAW_PREFIX) and feature.type == schema_pb2.BYTES:
            found[feature.name] = feature.name
    return found


def _known_share(statistics: statistics_pb2.DatasetFeatureStatisticsList, feature: str) -> float:
    """Compute which share of the images has a value; statistics lack a column without any."""
    (dataset,) = statistics.datasets
    for found in dataset.features:
        if found.path.step[:] == [feature] or found.name == feature:
            common = (
                found.string_stats if found.HasField("string_stats") else found.num_stats
            ).common_stats
            return common.num_non_missing / dataset.num_examples if dataset.num_examples else 0.0
    return 0.0
