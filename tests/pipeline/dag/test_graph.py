"""The DAG as compiled by TFX: nodes, edges, and what is in the cache keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.runtime import prepare_environment
from models.backbones import BACKBONES
from models.engines import OPENVINO_BF16, OPENVINO_F32, TENSORFLOW
from models.weights import RANDOM, WeightsSource
from pipeline.config.pipeline_config import PipelineConfig, load_config

prepare_environment()

import tensorflow_data_validation as tfdv  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow_metadata.proto.v0 import schema_pb2  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tfx.dsl.compiler import compiler  # noqa: E402

from components.evaluator.eval_config import eval_config  # noqa: E402
from pipeline.config.layout import PIPELINE_NAME  # noqa: E402
from pipeline.dag.graph import create_pipeline  # noqa: E402
from pipeline.resolve.engine import ResolvedEngine  # noqa: E402
from pipeline.resolve.signing import resolve_signer  # noqa: E402
from schema import SCHEMA_DIR, SCHEMA_FILE, contract  # noqa: E402
from serving.signing.keys import hint_of, read_public_key  # noqa: E402
from tests.serving.signing.versions import write_keys  # noqa: E402

PER_COMBINATION = ("Combiner", "Baseline", "Inferrer", "Evaluator", "ModelCard", "Pusher")
WEIGHTS = {name: WeightsSource(RANDOM) for name in BACKBONES}
ENGINE = ResolvedEngine(OPENVINO_F32, "2026.4")


def _config(tmp_path: Path, **fields: Any) -> PipelineConfig:
    data = {"dir": tmp_path} | fields.pop("data", {})
    return load_config(overrides={"data": data, "output": tmp_path / "o", **fields})


def _nodes(
    config: PipelineConfig,
    weights: dict[str, WeightsSource] = WEIGHTS,
    engine: ResolvedEngine = ENGINE,
) -> dict[str, Any]:
    compiled = compiler.Compiler().compile(create_pipeline(config, weights, engine))
    return {n.pipeline_node.node_info.id: n.pipeline_node for n in compiled.nodes}


def test_the_nodes_are_those_of_the_readme(tmp_path: Path) -> None:
    per_backbone = ("PretrainedBackbone", "Featurizer", "Trainer", "Baseline")
    judging = ("Inferrer", "Evaluator", "ModelCard", "Pusher")
    expected = {
        "RadiographExampleGen",
        "StatisticsGen",
        "CuratedSchemaGen",
        "ExampleValidator",
        "SchemaGate",
        "ShortcutAudit",
        "Transform",
        "Champion",
        "Pusher.champion",
        "PreviousStatistics",
        "Report",
        *(f"{n}.{name}" for n in (*per_backbone, *judging) for name in BACKBONES),
        *(f"{node}.{kind}" for node in PER_COMBINATION for kind in ("ensemble", "cascade")),
        *(f"{node}.fusion" for node in ("Trainer", *PER_COMBINATION[1:])),
    }
    assert set(_nodes(_config(tmp_path))) == expected


@pytest.mark.parametrize("precision", ["int8", "bf16", "f32"])
def test_a_precision_is_chosen_before_anything_serves(precision: str, tmp_path: Path) -> None:
    checked = {"infra_validation": {"mode": "embedded"}}
    before = _nodes(_config(tmp_path, **checked))
    nodes = _nodes(_config(tmp_path, serve={"precision": precision}, **checked))
    models = {*BACKBONES, "ensemble", "cascade", "fusion"}
    assert set(nodes) - set(before) == {f"ServingPrecision.{name}" for name in models}
    for name in models:
        node = f"ServingPrecision.{name}"
        assert {f"Evaluator.{name}", "Transform"} <= set(nodes[node].upstream_nodes)
        for behind in (f"InfraCheck.{name}", f"Pusher.{name}", "Champion"):
            assert node in nodes[behind].upstream_nodes
    assert set(_nodes(_config(tmp_path, serve={"precision": "auto"}, **checked))) == set(before)


@pytest.mark.parametrize(
    ("mode", "node"), [("embedded", "InfraCheck"), ("docker", "InfraValidator")]
)
def test_infra_validation_stands_before_every_pusher(mode: str, node: str, tmp_path: Path) -> None:
    before = _nodes(_config(tmp_path))
    nodes = _nodes(_config(tmp_path, infra_validation={"mode": mode}))
    models = {*BACKBONES, "ensemble", "cascade", "fusion"}
    assert set(nodes) - set(before) == {f"{node}.{name}" for name in models}
    for name in models:
        assert f"{node}.{name}" in nodes[f"Pusher.{name}"].upstream_nodes
        assert f"{node}.{name}" in nodes["Champion"].upstream_nodes
        assert f"{node}.{name}" in nodes[f"ModelCard.{name}"].upstream_nodes
    # The champion is one of them, and has been looked at as such.
    assert nodes["Pusher.champion"].upstream_nodes == before["Pusher.champion"].upstream_nodes


@pytest.mark.parametrize(
    "limit",
    [
        {"max_duplicates_across_splits": 0},
        {"max_patients_across_splits": 0},
        {"max_shortcut_accuracy": 0.5},
    ],
)
def test_the_pushers_ask_the_audit_where_a_limit_is_set(
    limit: dict[str, float], tmp_path: Path
) -> None:
    before, nodes = _nodes(_config(tmp_path)), _nodes(_config(tmp_path, audit=limit))
    assert before["ShortcutAudit"].upstream_nodes == ["RadiographExampleGen"]
    # No model waits for it.
    assert before["ShortcutAudit"].downstream_nodes == ["Report"]
    assert set(before["ShortcutAudit"].inputs.inputs) == {"examples", "manifest"}
    models = (*BACKBONES, "ensemble", "cascade", "fusion", "champion")
    pushers = {f"Pusher.{name}" for name in models}
    assert set(nodes["ShortcutAudit"].downstream_nodes) == pushers | {"Report"}
    for name in pushers:
        (channel,) = nodes[name].inputs.inputs["audit"].channels
        assert channel.producer_node_query.id == "ShortcutAudit"
        assert "audit" not in before[name].inputs.inputs
    assert _changed(before, nodes) == {"ShortcutAudit"}
    ((field, value),) = limit.items()
    given = nodes["ShortcutAudit"].parameters.parameters[field].field_value
    assert getattr(given, given.WhichOneof("value")) == value


def test_without_an_audit_there_is_no_node(tmp_path: Path) -> None:
    with_it, without = (
        _nodes(_config(tmp_path)),
        _nodes(_config(tmp_path, audit={"enabled": False})),
    )
    assert set(with_it) - set(without) == {"ShortcutAudit"}


def test_infra_validator_asks_the_daemon_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///x.sock")
    nodes = _nodes(_config(tmp_path, infra_validation={"mode": "docker"}))
    parameters = nodes["InfraValidator.vgg16"].parameters.parameters
    spec = json.loads(parameters["serving_spec"].field_value.string_value)
    assert spec["local_docker"]["client_base_url"] == "unix:///x.sock"


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"backbones": ["vgg16"]}, []),
        ({"combinations": []}, []),
        ({"combinations": ["cascade"]}, ["cascade"]),
        ({"combinations": ["fusion"]}, ["fusion"]),
        ({"backbones": ["vgg16", "xception"]}, ["cascade", "ensemble", "fusion"]),
    ],
)
def test_two_backbones_or_more_are_combined_as_configured(
    tmp_path: Path, fields: dict[str, Any], kinds: list[str]
) -> None:
    nodes = _nodes(_config(tmp_path, **fields))
    combined = {"ensemble", "cascade", "fusion"}
    for node in PER_COMBINATION[1:]:
        found = {n.split(".")[1] for n in nodes if n.startswith(f"{node}.")}
        assert found & combined == set(kinds)
    makers = {n for n in nodes if n.split(".")[-1] in combined and n.startswith(("Tr", "Com"))}
    assert makers == {f"{'Trainer' if kind == 'fusion' else 'Combiner'}.{kind}" for kind in kinds}
    candidates = [*fields.get("backbones", BACKBONES), *kinds]
    inputs = set(nodes["Champion"].inputs.inputs)
    per_candidate = ("model", "run", "blessing", "card")
    assert inputs == {f"{key}_{name}" for key in per_candidate for name in candidates}


def test_a_combination_is_made_of_all_backbones_and_is_judged_like_one(tmp_path: Path) -> None:
    nodes = _nodes(_config(tmp_path))
    trainers = {f"Trainer.{name}" for name in BACKBONES}
    for kind in ("ensemble", "cascade"):
        combiner = nodes[f"Combiner.{kind}"]
        assert set(combiner.upstream_nodes) == trainers | {"Transform"}
        assert combiner.parameters.parameters["kind"].field_value.string_value == kind
        backbone, combined = nodes["Evaluator.vgg16"], nodes[f"Evaluator.{kind}"]
        assert combined.parameters == backbone.parameters
        assert f"Combiner.{kind}" in combined.upstream_nodes
        # It answers from what its members stand on; no network runs in an evaluation.
        inferrer = nodes[f"Inferrer.{kind}"]
        features = {f"features_{name}" for name in BACKBONES}
        assert set(inferrer.inputs.inputs) == {"model", "baseline_model", "examples", *features}
        (answers,) = combined.inputs.inputs["examples"].channels
        assert answers.producer_node_query.id == f"Inferrer.{kind}"
        # The baseline is an earlier model of the same combination, not of a member.
        given = nodes[f"Baseline.{kind}"].parameters.parameters
        folders = {key: Path(given[key].field_value.string_value) for key in ("serving", "pushed")}
        assert {folder.name for folder in folders.values()} == {kind}


def test_the_fused_head_reads_what_the_backbones_featurizers_write(tmp_path: Path) -> None:
    nodes = _nodes(_config(tmp_path))
    fused = nodes["Trainer.fusion"]
    producers = {
        key: channel.producer_node_query.id
        for key, given in fused.inputs.inputs.items()
        for channel in given.channels
    }
    assert producers == {
        "transform_graph": "Transform",
        **{f"features_{name}": f"Featurizer.{name}" for name in BACKBONES},
        **{f"backbone_{name}": f"PretrainedBackbone.{name}" for name in BACKBONES},
    }
    # What is behind it is what is behind a backbone's own training.
    inferrer = nodes["Inferrer.fusion"]
    assert set(inferrer.inputs.inputs) == {
        *("model", "baseline_model", "examples"),
        *(f"features_{name}" for name in BACKBONES),
    }
    assert nodes["Evaluator.fusion"].parameters == nodes["Evaluator.vgg16"].parameters
    described = _parameter(fused, "backbones")
    for name in BACKBONES:
        trainer = _parameter(nodes[f"Trainer.{name}"], "custom_config")
        assert described[name] == {"scaling": None, "computed_by": trainer["features"]}


@pytest.mark.parametrize("boundary", ["input", "head"])
def test_one_pass_computes_a_backbones_taps_and_the_fused_heads(
    boundary: str, tmp_path: Path
) -> None:
    given = {"training": {"boundary": boundary}}
    without = _nodes(_config(tmp_path, combinations=["ensemble"], **given))
    nodes = _nodes(_config(tmp_path, **given))
    for name, row in BACKBONES.items():
        (before, after) = (each[f"Featurizer.{name}"] for each in (without, nodes))
        taps = set(_parameter(after, "taps"))
        assert taps == {*_parameter(before, "taps"), *row.fused_taps}
        assert _parameter(before, "boundaries") == [boundary]
        assert set(_parameter(after, "boundaries")) == {boundary, "head"}


def test_a_card_stands_before_its_pusher_and_the_champion(tmp_path: Path) -> None:
    nodes = _nodes(_config(tmp_path))
    made = {name: {f"Trainer.{name}", f"PretrainedBackbone.{name}"} for name in BACKBONES}
    made |= {kind: {f"Combiner.{kind}"} for kind in ("ensemble", "cascade")}
    for name, made_by in (made | {"fusion": {"Trainer.fusion"}}).items():
        card = nodes[f"ModelCard.{name}"]
        assert set(card.upstream_nodes) == made_by | {f"Evaluator.{name}", "RadiographExampleGen"}
        assert f"ModelCard.{name}" in nodes[f"Pusher.{name}"].upstream_nodes
        assert f"ModelCard.{name}" in nodes["Champion"].upstream_nodes
        programs = {"cxr-tfx", "tfx", "tensorflow", "keras", "python"}
        assert set(_parameter(card, "versions")) == programs
    # The champion's lies beside the model already; what is kept of it are its images.
    given = {"model", "model_blessing", "manifest", "statistics"}
    assert set(nodes["Pusher.champion"].inputs.inputs) == given


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
    create_pipeline(_config(tmp_path), WEIGHTS, ENGINE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of DAGs that are compared with one that is compiled once."""
    return tmp_path_factory.mktemp("dag")


@pytest.fixture(scope="module")
def default(folder: Path) -> dict[str, Any]:
    """The nodes of the DAG as it is without further fields."""
    return _nodes(_config(folder))


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {
        node.split(".")[0] for node in before if before[node].parameters != after[node].parameters
    }


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({"training": {"learning_rate": 0.5}}, {"Trainer"}),
        # What Keras fits is judged by the validation split, of which it takes no mirror.
        ({"training": {"head": {"kind": "paper"}}}, {"Trainer", "Featurizer"}),
        # Another penalty of the heads costs no network and no features.
        ({"training": {"head": {"l2": 0.1}}}, {"Trainer"}),
        ({"training": {"boundary": "input"}}, {"PretrainedBackbone", "Trainer", "Featurizer"}),
        ({"training": {"scaling": "unit"}}, {"PretrainedBackbone", "Trainer", "Featurizer"}),
        ({"training": {"augmentations": ["identity", "mirror"]}}, {"Trainer", "Featurizer"}),
        ({"training": {"validation": "holdout"}}, {"Trainer", "Featurizer"}),
        # The Report's page for a filing says by which rules a later run may choose otherwise.
        ({"champion": {"prefer": "cheap"}}, {"Champion", "Report"}),
        ({"gate": {"min_accuracy": 0.5}}, {"Evaluator", "ModelCard"}),
        ({"abstain_accuracy": 0.9}, {"Trainer", "Combiner", "Report"}),
        ({"input_gate": {"false_alarms": 0.05}}, {"Trainer", "Report"}),
        ({"audit": {"min_correlation": 0.5}}, {"ShortcutAudit"}),
        # No statistics and no schema know of them.
        ({"data": {"slice_columns": ["unit"]}}, {"RadiographExampleGen", "Evaluator"}),
        ({"data": {"slice_columns": []}}, set()),
        ({"data": {"columns": {"label": "finding"}}}, {"RadiographExampleGen"}),
        ({"data": {"layout": "table", "views": ["PA"]}}, {"RadiographExampleGen"}),
        ({"data": {"layout": "auto", "columns": {}}}, set()),
        # The columns go from the table to the features, the audit asks them, and the report has
        # two more models; a model that takes none stays as it is.
        (
            {"data": {"features": {"crp": {"kind": "numeric"}}}},
            {
                *("RadiographExampleGen", "StatisticsGen", "CuratedSchemaGen", "Transform"),
                # Every model's test results are sliced by the columns.
                *("Featurizer", "ShortcutAudit", "Report", "Evaluator"),
            },
        ),
        (
            {"seed": 5},
            {
                "RadiographExampleGen",
                "ShortcutAudit",
                "PretrainedBackbone",
                "Trainer",
                "ModelCard",
            },
        ),
        ({"enable_cache": False}, set()),
    ],
)
def test_a_field_changes_the_parameters_of_those_nodes_alone(
    folder: Path, default: dict[str, Any], fields: dict[str, Any], nodes: set[str]
) -> None:
    assert _changed(default, _nodes(_config(folder, **fields))) == nodes


BOUNDARIES = ["head", "block5", "block14", "conv4", "conv5"]


def _tuned(tmp_path: Path, **fields: Any) -> dict[str, Any]:
    tuning = {"mode": "search", "boundaries": BOUNDARIES} | fields.pop("tuning", {})
    return _nodes(_config(tmp_path, tuning=tuning, **fields))


def _parameter(node: Any, name: str) -> Any:
    return json.loads(node.parameters.parameters[name].field_value.string_value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [["conv3", "conv4_16_max", "conv4_16_grid"], ["last"]]),
        ({"combinations": []}, [["conv3", "conv4_16_max", "conv4_16_grid"], ["last"]]),
        ({"training": {"head": {"taps": ["conv3"]}}, "combinations": []}, [["conv3"], ["last"]]),
        ({"training": {"boundary": "conv5"}, "backbones": ["densenet121"]}, []),
        ({"training_overrides": {"densenet121": {"boundary": "conv5"}}}, [["last"]]),
    ],
)
def test_a_network_is_traced_for_each_head_that_may_stand_on_all_of_it(
    tmp_path: Path, fields: dict[str, Any], expected: list[list[str]]
) -> None:
    nodes = _nodes(_config(tmp_path, **fields))
    assert _parameter(nodes["PretrainedBackbone.densenet121"], "traced_taps") == expected


def test_a_search_over_boundaries_may_end_at_a_head(tmp_path: Path) -> None:
    nodes = _tuned(tmp_path)
    assert _parameter(nodes["PretrainedBackbone.vgg16"], "traced_taps") == [
        ["block3_grid", "block4", "block4_max", "last"], ["last"], ["block4", "last"],
    ]  # fmt: skip


def test_a_tuner_searches_where_features_are_cached_and_hands_on_what_it_found(
    tmp_path: Path,
) -> None:
    nodes = _tuned(tmp_path)
    of = {"vgg16": ["head", "block5"], "xception": ["head", "block14"]}
    for name, boundaries in (of | {"densenet121": ["head", "conv4", "conv5"]}).items():
        tuner, trainer = nodes[f"Tuner.{name}"], nodes[f"Trainer.{name}"]
        assert _parameter(nodes[f"Featurizer.{name}"], "boundaries") == boundaries
        assert _parameter(tuner, "custom_config")["boundaries"] == boundaries
        assert _parameter(tuner, "custom_config")["code_digest"]
        taps = _parameter(nodes[f"Featurizer.{name}"], "taps")
        assert set(taps) == {*BACKBONES[name].head_taps, "last"}
        assert set(tuner.upstream_nodes) == {f"Featurizer.{name}", f"PretrainedBackbone.{name}"}
        assert set(tuner.inputs.inputs) == {"examples", "base_model"}
        (channel,) = trainer.inputs.inputs["hyperparameters"].channels
        assert channel.producer_node_query.id == f"Tuner.{name}"


def test_reusing_computes_the_same_features_and_takes_the_latest_result(tmp_path: Path) -> None:
    searching, reusing = _tuned(tmp_path), _tuned(tmp_path, tuning={"mode": "reuse"})
    for name in BACKBONES:
        assert f"Tuner.{name}" not in reusing
        for node in (f"Featurizer.{name}", f"Trainer.{name}"):
            assert reusing[node].parameters == searching[node].parameters
        resolver = reusing[f"Tuned.{name}"]
        (channel,) = [c for spec in resolver.inputs.inputs.values() for c in spec.channels]
        assert channel.artifact_query.type.name == "HyperParameters"
        # Of any run: the search was an earlier one's.
        assert {q.type.name: q.name.field_value.string_value for q in channel.context_queries} == {
            "pipeline": PIPELINE_NAME,
            "node": f"{PIPELINE_NAME}.Tuner.{name}",
        }


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({"tuning": {"trials": 5}}, {"Tuner"}),
        ({"tuning": {"boundaries": ["head"]}}, {"Tuner", "Featurizer"}),
        ({"training": {"epochs": 5}}, {"Tuner", "Trainer"}),
        ({"gate": {"min_accuracy": 0.5}}, {"Evaluator", "ModelCard"}),
    ],
)
def test_a_search_runs_again_only_for_what_it_depends_on(
    tmp_path: Path, fields: dict[str, Any], nodes: set[str]
) -> None:
    assert _changed(_tuned(tmp_path), _tuned(tmp_path, **fields)) == nodes


def test_other_weights_change_their_backbone_alone(folder: Path, default: dict[str, Any]) -> None:
    other = WEIGHTS | {"vgg16": WeightsSource("imagenet", folder / "w.h5", "ab")}
    after = _nodes(_config(folder), other)
    changed = {node for node in default if default[node].parameters != after[node].parameters}
    assert changed == {"PretrainedBackbone.vgg16"}


@pytest.mark.parametrize(
    "engine",
    [
        ResolvedEngine(OPENVINO_BF16, ENGINE.version),
        ResolvedEngine(ENGINE.name, "2027.0"),
        ResolvedEngine(TENSORFLOW, "2.16.2"),
    ],
)
def test_another_engine_or_version_computes_the_features_anew_and_nothing_else(
    folder: Path, default: dict[str, Any], engine: ResolvedEngine
) -> None:
    after = _nodes(_config(folder), engine=engine)
    # Trainer notes what computed its features; bfloat16 may be farther from the SavedModel.
    gate = {"Evaluator"} if engine.name == OPENVINO_BF16 else set()
    assert _changed(default, after) == {"Featurizer", "Trainer"} | gate
    for name in BACKBONES:
        parameters = after[f"Featurizer.{name}"].parameters.parameters
        assert parameters["engine"].field_value.string_value == engine.name
        assert parameters["engine_version"].field_value.string_value == engine.version


def test_the_gate_looks_at_the_whole_test_split_only() -> None:
    config = eval_config(n_classes=3, min_accuracy=0.9, against_baseline=True)
    metrics = [m for spec in config.metrics_specs for m in spec.metrics]
    gated = [m for m in metrics if m.per_slice_thresholds or m.HasField("threshold")]
    accuracy, few_patients = gated
    assert few_patients.class_name == "FewPatientsLower"
    (of_patients,) = few_patients.per_slice_thresholds
    assert of_patients.threshold.value_threshold.lower_bound.value == 0.9
    for metric in gated:
        assert not metric.HasField("threshold")
        assert [len(each.slicing_specs) for each in metric.per_slice_thresholds] == [1]
        assert metric.per_slice_thresholds[0].slicing_specs[0] == config_pb2.SlicingSpec()
    (whole,) = accuracy.per_slice_thresholds
    (spec,) = whole.slicing_specs
    assert not spec.feature_keys
    assert not spec.feature_values
    assert whole.threshold.value_threshold.lower_bound.value == pytest.approx(0.9, abs=1e-6)
    assert whole.threshold.change_threshold.absolute.value == 0.0


COLUMN = {"features": {"crp": {"kind": "numeric"}}}


@pytest.mark.parametrize("backbones", [["densenet121"], list(BACKBONES)])
def test_models_that_take_the_table_are_candidates_like_the_others(
    backbones: list[str], tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"backbones": backbones, "combinations": []}
    before = _nodes(_config(tmp_path, **fields))
    nodes = _nodes(_config(tmp_path, data=COLUMN, **fields))
    parts = ("Trainer", *PER_COMBINATION[1:])
    assert set(nodes) - set(before) == {f"{n}.{kind}" for n in parts for kind in ("table", "joint")}
    for kind in ("table", "joint"):
        assert {f"Trainer.{kind}", f"Evaluator.{kind}"} <= set(nodes["Champion"].upstream_nodes)
        assert f"Trainer.{kind}" in nodes[f"Pusher.{kind}"].upstream_nodes
    featurizers = {f"Featurizer.{name}" for name in backbones}
    assert featurizers <= set(nodes["Trainer.joint"].upstream_nodes)
    assert len(featurizers & set(nodes["Trainer.table"].upstream_nodes)) == 1


def test_which_of_them_are_trained_is_configured(tmp_path: Path) -> None:
    alone = _nodes(_config(tmp_path, data=COLUMN, table={"models": ["table"]}))
    assert "Trainer.table" in alone
    assert "Trainer.joint" not in alone
    without = _nodes(_config(tmp_path, table={"models": ["table", "joint"]}))
    assert "Trainer.table" not in without


def test_who_signs_is_the_pushers_affair_alone(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    before = _nodes(_config(tmp_path))
    config = resolve_signer(_config(tmp_path, push={"signing_key": private}))
    nodes = _nodes(config)
    pushers = {name for name in nodes if name.startswith("Pusher.")}
    assert _changed(before, nodes) == {"Pusher"}
    for name in pushers:
        parameters = nodes[name].parameters.parameters
        assert parameters["signing_key"].field_value.string_value == str(private)
        hint = hint_of(read_public_key(public))
        assert parameters["signed_by"].field_value.string_value == hint
    # Another key under the same name is another push.
    write_keys(tmp_path)
    again = _nodes(resolve_signer(_config(tmp_path, push={"signing_key": private})))
    assert _changed(nodes, again) == {"Pusher"}
