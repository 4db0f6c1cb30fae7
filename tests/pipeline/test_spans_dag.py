"""What spans, and training that goes on, add to the DAG; and what they leave as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment
from models.backbones import BACKBONES
from models.engines import OPENVINO_F32
from models.weights import RANDOM, WeightsSource
from pipeline.config.pipeline_config import PipelineConfig, load_config

prepare_environment()

from tfx.dsl.compiler import compiler  # noqa: E402

from common.errors import InputError  # noqa: E402
from pipeline.dag.graph import create_pipeline  # noqa: E402
from pipeline.resolve.engine import ResolvedEngine  # noqa: E402
from pipeline.resolve.spans import resolve_spans  # noqa: E402

WEIGHTS = {name: WeightsSource(RANDOM) for name in BACKBONES}
ENGINE = ResolvedEngine(OPENVINO_F32, "2026.4")


def _config(tmp_path: Path, **fields: Any) -> PipelineConfig:
    data = {"dir": tmp_path} | fields.pop("data", {})
    return load_config(overrides={"data": data, "output": tmp_path / "o", **fields})


def _compiled(pipeline: Any) -> dict[str, Any]:
    nodes = compiler.Compiler().compile(pipeline).nodes
    return {n.pipeline_node.node_info.id: n.pipeline_node for n in nodes}


def _nodes(config: PipelineConfig) -> dict[str, Any]:
    return _compiled(create_pipeline(config, WEIGHTS, ENGINE))


def _span_nodes(config: PipelineConfig) -> dict[str, Any]:
    spans = resolve_spans(config.data)
    return _compiled(create_pipeline(config, WEIGHTS, ENGINE, spans=spans))


def test_spans_add_the_nodes_that_go_on_and_nothing_else(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"span-{number}").mkdir()
    plain = _nodes(_config(tmp_path))
    data = {"dir": tmp_path / "span-{SPAN}", "window": 2, "max_drift": 0.3}
    nodes = _span_nodes(_config(tmp_path, data=data))
    assert set(nodes) - set(plain) == {"SpanDrift", *(f"Previous.{name}" for name in BACKBONES)}
    assert set(plain) <= set(nodes)
    given = nodes["RadiographExampleGen"].parameters.parameters
    spans = json.loads(given["spans"].field_value.string_value)
    assert [(s["folder"], s["taken"]) for s in spans] == [
        ("span-1", False), ("span-2", True), ("span-3", True),
    ]  # fmt: skip
    assert {"spans", "splits_dir"}.isdisjoint(plain["RadiographExampleGen"].parameters.parameters)
    # Before anything is trained.
    assert "SpanDrift" in nodes["Transform"].upstream_nodes
    limit = nodes["SpanDrift"].parameters.parameters["max_drift"].field_value
    assert limit.double_value == 0.3
    assert set(nodes["Trainer.vgg16"].upstream_nodes) - set(
        plain["Trainer.vgg16"].upstream_nodes
    ) == {"Previous.vgg16"}
    assert nodes["Trainer.vgg16"].parameters == plain["Trainer.vgg16"].parameters


def test_another_limit_of_drift_is_no_reason_to_train_again(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    before, after = (
        _span_nodes(_config(tmp_path, data={"dir": tmp_path / "{SPAN}", "max_drift": limit}))
        for limit in (None, 0.7)
    )
    changed = {node for node in before if before[node].parameters != after[node].parameters}
    assert changed == {"SpanDrift"}


def test_training_goes_on_only_where_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    plain = _nodes(_config(tmp_path))
    on = _nodes(_config(tmp_path, continue_training=True))
    assert set(on) - set(plain) == {f"Previous.{name}" for name in BACKBONES}
    off = _span_nodes(_config(tmp_path, data={"dir": tmp_path / "{SPAN}"}, continue_training=False))
    assert set(off) - set(plain) == {"SpanDrift"}
    assert off["Trainer.vgg16"].upstream_nodes == plain["Trainer.vgg16"].upstream_nodes


def test_a_pattern_that_nobody_resolved_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\{SPAN\} stands for folders that nobody"):
        _nodes(_config(tmp_path, data={"dir": tmp_path / "{SPAN}"}))
