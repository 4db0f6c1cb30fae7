"""The DAG as compiled by TFX: nodes, edges, and what is in the cache keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.backbones import BACKBONES
from models.weights import RANDOM, WeightsSource
from pipeline.config import PipelineConfig, load_config
from pipeline.runtime import prepare_environment

prepare_environment()

import tensorflow_data_validation as tfdv  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow_metadata.proto.v0 import schema_pb2  # noqa: E402
from tfx.dsl.compiler import compiler  # noqa: E402

from pipeline.dag import create_pipeline  # noqa: E402
from pipeline.evaluation import eval_config  # noqa: E402
from schema import SCHEMA_DIR, SCHEMA_FILE, contract  # noqa: E402

WEIGHTS = {name: WeightsSource(RANDOM) for name in BACKBONES}


def _config(tmp_path: Path, **fields: Any) -> PipelineConfig:
    return load_config(overrides={"data": {"dir": tmp_path}, "output": tmp_path / "o", **fields})


def _nodes(config: PipelineConfig, weights: dict[str, WeightsSource] = WEIGHTS) -> dict[str, Any]:
    compiled = compiler.Compiler().compile(create_pipeline(config, weights))
    return {n.pipeline_node.node_info.id: n.pipeline_node for n in compiled.nodes}


def test_the_nodes_are_those_of_the_readme(tmp_path: Path) -> None:
    per_backbone = ("PretrainedBackbone", "Featurizer", "Trainer", "Baseline", "Evaluator")
    expected = {
        "RadiographExampleGen",
        "StatisticsGen",
        "CuratedSchemaGen",
        "ExampleValidator",
        "SchemaGate",
        "Transform",
        "Champion",
        "Pusher.champion",
        *(f"{node}.{name}" for node in (*per_backbone, "Pusher") for name in BACKBONES),
    }
    assert set(_nodes(_config(tmp_path))) == expected


def test_nothing_is_transformed_or_trained_before_the_schema_gate(tmp_path: Path) -> None:
    nodes = _nodes(_config(tmp_path))
    assert "SchemaGate" in nodes["Transform"].upstream_nodes
    for name in BACKBONES:
        assert "Transform" in nodes[f"Featurizer.{name}"].upstream_nodes


def test_the_statistics_are_of_all_features_but_the_pixels(tmp_path: Path) -> None:
    parameters = _nodes(_config(tmp_path))["StatisticsGen"].parameters.parameters
    options = tfdv.StatsOptions.from_json(parameters["stats_options_json"].field_value.string_value)
    schema = text_format.Parse((SCHEMA_DIR / SCHEMA_FILE).read_text(), schema_pb2.Schema())
    features = {feature.name for feature in schema.feature}
    assert set(options.feature_allowlist) == features - set(contract.PIXEL_FEATURES)
    # A batch, though without its pixels, keeps them alive: TFDV must not collect batches,
    # or memory grows with the data (see the docstring of `_statistics_options`).
    assert options.desired_batch_size == 1


def test_building_twice_gives_the_same_dag(tmp_path: Path) -> None:
    config = _config(tmp_path)
    assert _nodes(config) == _nodes(config)


def test_the_dag_writes_nothing(tmp_path: Path) -> None:
    create_pipeline(_config(tmp_path), WEIGHTS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {
        node.split(".")[0] for node in before if before[node].parameters != after[node].parameters
    }


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({"training": {"learning_rate": 0.5}}, {"Trainer"}),
        ({"training": {"head": {"kind": "paper"}}}, {"Trainer"}),
        ({"training": {"boundary": "input"}}, {"Trainer", "Featurizer"}),
        ({"training": {"views": ["identity"]}}, {"Trainer", "Featurizer"}),
        ({"gate": {"min_accuracy": 0.5}}, {"Evaluator"}),
        ({"seed": 5}, {"RadiographExampleGen", "PretrainedBackbone", "Trainer"}),
        ({"enable_cache": False}, set()),
    ],
)
def test_a_field_changes_the_parameters_of_those_nodes_alone(
    tmp_path: Path, fields: dict[str, Any], nodes: set[str]
) -> None:
    changed = _changed(_nodes(_config(tmp_path)), _nodes(_config(tmp_path, **fields)))
    assert changed == nodes


def test_other_weights_change_their_backbone_alone(tmp_path: Path) -> None:
    config = _config(tmp_path)
    other = WEIGHTS | {"vgg16": WeightsSource("imagenet", tmp_path / "w.h5", "ab")}
    before, after = _nodes(config), _nodes(config, other)
    changed = {node for node in before if before[node].parameters != after[node].parameters}
    assert changed == {"PretrainedBackbone.vgg16"}


def test_the_gate_looks_at_the_whole_test_split_only() -> None:
    config = eval_config(n_classes=3, min_accuracy=0.9, against_baseline=True)
    metrics = [m for spec in config.metrics_specs for m in spec.metrics]
    gated = [m for m in metrics if m.per_slice_thresholds or m.HasField("threshold")]
    (accuracy,) = gated
    assert not accuracy.HasField("threshold")
    (whole,) = accuracy.per_slice_thresholds
    (spec,) = whole.slicing_specs
    assert not spec.feature_keys
    assert not spec.feature_values
    assert whole.threshold.value_threshold.lower_bound.value == pytest.approx(0.9, abs=1e-6)
    assert whole.threshold.change_threshold.absolute.value == 0.0
