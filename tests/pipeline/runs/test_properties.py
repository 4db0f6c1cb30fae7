"""Execution properties as dotted fields."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.runs.properties import fields_of, is_code


@pytest.mark.parametrize(
    ("properties", "fields"),
    [
        ({"seed": 3, "test_fraction": "0.2"}, {"seed": 3, "test_fraction": "0.2"}),
        (
            {"custom_config": '{"training": {"head": {"l2": 0.1}, "views": ["a", "b"]}}'},
            {"training.head.l2": 0.1, "training.views": ["a", "b"]},
        ),
        # Not below custom_config's own name where another property has it.
        (
            {"custom_config": '{"seed": 1}', "seed": 2},
            {"custom_config.seed": 1, "seed": 2},
        ),
        ({"custom_config": "null", "limits": "{}"}, {"custom_config": None, "limits": {}}),
        (
            {"classes": '[{"name": "A", "folders": ["a"]}, {"name": "B", "folders": ["b"]}]'},
            {
                **{"classes.A.name": "A", "classes.A.folders": ["a"]},
                **{"classes.B.name": "B", "classes.B.folders": ["b"]},
            },
        ),
        ({"specs": '[{"x": 1}, {"x": 2}]'}, {"specs.0.x": 1, "specs.1.x": 2}),
        ({"path": "{no json", "empty": ""}, {"path": "{no json", "empty": ""}),
    ],
)
def test_json_is_taken_apart(properties: dict[str, Any], fields: dict[str, Any]) -> None:
    assert fields_of(properties) == fields


def test_the_gates_fields_have_the_configurations_names() -> None:
    bound = (
        '"per_slice_thresholds": [{"slicing_specs": [{}],'
        ' "threshold": {"value_threshold": {"lower_bound": 0.5}}}]'
    )
    metrics = ", ".join(
        f'{{"class_name": "{name}", "config": "\\"code_digest\\": \\"x\\"", {bound}}}'
        for name in ("SparseCategoricalAccuracy", "AccuracyWilsonLower", "McNemarPValue")
    )
    fields = fields_of({"eval_config": f'{{"metrics_specs": [{{"metrics": [{metrics}]}}]}}'})
    gate = {"gate.min_accuracy", "gate.min_wilson_lower", "gate.baseline_significance"}
    assert {name for name in fields if name.startswith("gate.")} == gate
    assert {name for name in fields if is_code(name)} == {
        f"eval_config.metrics_specs.0.metrics.{name}.config.code_digest"
        for name in ("SparseCategoricalAccuracy", "AccuracyWilsonLower", "McNemarPValue")
    }


def test_the_gates_names_are_those_that_the_evaluation_leads_to() -> None:
    """TFMA's own JSON of the real configuration; a change there must not go unnoticed."""
    from google.protobuf import json_format

    from components.evaluator.configuration import SliceGateConfig
    from components.evaluator.eval_config import eval_config

    config = eval_config(
        n_classes=3,
        min_accuracy=0.9,
        against_baseline=True,
        min_wilson_lower=0.8,
        baseline_significance=0.05,
        slices=[
            SliceGateConfig(feature="sex", value="F", min_accuracy=0.6, min_images=5),
            SliceGateConfig(feature="view", min_accuracy=0.7, min_wilson_lower=0.4),
        ],
    )
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    fields = fields_of({"eval_config": text})
    assert fields["gate.min_accuracy"] == pytest.approx(0.9)
    assert fields["gate.min_wilson_lower"] == 0.8
    assert fields["gate.baseline_significance"] == pytest.approx(0.05)
    assert {name: value for name, value in fields.items() if name.startswith("gate.slices")} == {
        "gate.slices.0.min_accuracy": 0.6,
        "gate.slices.0.min_images": 5,
        "gate.slices.1.min_accuracy": 0.7,
        "gate.slices.1.min_wilson_lower": 0.4,
        "gate.slices.1.min_images": 10,
    }
