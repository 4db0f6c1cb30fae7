"""The configuration: presets, files, overrides, and errors that name the field."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from models.backbones import BACKBONES
from pipeline.config.layers import PRESETS, merge
from pipeline.config.pipeline_config import check_inputs, load_config

DATA = {"data": {"dir": "images"}}
SEX = {"feature": "sex", "min_accuracy": 0.8}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    config = load_config(preset=preset, overrides=DATA)
    assert config.preset == preset
    assert config.backbones == ("vgg16", "xception", "densenet121")
    assert config.gate.min_accuracy == 0.90


def test_fast_is_the_default_and_freezes_the_backbones() -> None:
    config = load_config(overrides=DATA)
    assert config.preset == "fast"
    assert not config.allow_random_weights
    for name in config.backbones:
        params = config.training_for(name)
        assert params.boundary == "head"
        assert params.head.kind == "regularised"


def test_paper_takes_the_recipe_of_each_backbone_from_the_table() -> None:
    config = load_config(preset="paper", overrides=DATA)
    for name in config.backbones:
        params = config.training_for(name)
        recipe = BACKBONES[name].paper
        assert params.boundary == "input"
        assert params.scaling == "unit"
        assert params.head.kind == "paper"
        assert params.head.width == 1024
        assert (params.learning_rate, params.batch_size, params.epochs) == (
            recipe.learning_rate,
            recipe.batch_size,
            recipe.epochs,
        )
        assert params.early_stopping_patience == recipe.early_stopping_patience
        assert params.random_augmentation is not None
        assert params.random_augmentation.zoom == 0.2


def test_what_the_user_gives_wins_over_the_papers_recipe() -> None:
    own = {"training": {"batch_size": 2}, "training_overrides": {"xception": {"epochs": 1}}}
    config = load_config(preset="paper", overrides=merge(DATA, own))
    for name in config.backbones:
        params = config.training_for(name)
        assert params.batch_size == 2
        assert params.learning_rate == BACKBONES[name].paper.learning_rate
        assert params.epochs == (1 if name == "xception" else BACKBONES[name].paper.epochs)


def test_missing_files_and_folders_are_named_by_field(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    good = load_config(overrides={"data": {"dir": tmp_path / "images"}})
    check_inputs(good)
    gone = {
        "data": {"dir": tmp_path / "a", "metadata": tmp_path / "b.csv"},
        "weights_dir": tmp_path / "c",
        "schema_dir": tmp_path / "images",
    }
    with pytest.raises(InputError) as caught:
        check_inputs(load_config(overrides=gone))
    for field in ("data.dir: ", "data.metadata: ", "weights_dir: ", "schema_dir: "):
        assert field in str(caught.value)


def test_a_tilde_in_a_file_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "my.yaml"
    file.write_text("data: {dir: ~/images}\noutput: ~/out\n")
    config = load_config(file)
    assert config.data.dir == tmp_path / "home" / "images"
    assert config.output == tmp_path / "home" / "out"


def test_only_demo_goes_on_with_random_weights() -> None:
    allowed = {p: load_config(preset=p, overrides=DATA).allow_random_weights for p in PRESETS}
    assert allowed == {"fast": False, "paper": False, "demo": True}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"sed": 1}, "sed"),
        ({"backbones": ["vgg61"]}, "backbones"),
        ({"backbones": []}, "backbones"),
        ({"backbones": ["vgg16", "vgg16"]}, "backbones"),
        ({"combinations": ["mean"]}, "combinations"),
        ({"combinations": ["cascade", "cascade"]}, "combinations"),
        ({"audit": {"max_duplicates_across_splits": -1}}, "audit.max_duplicates_across_splits"),
        ({"audit": {"max_patients_across_splits": 0.5}}, "audit.max_patients_across_splits"),
        ({"audit": {"max_shortcut_accuracy": 1.1}}, "audit.max_shortcut_accuracy"),
        ({"audit": {"min_correlation": 0}}, "audit.min_correlation"),
        ({"audit": {"min_correlation": 0.99}}, "audit.min_correlation"),
        (
            {"audit": {"enabled": False, "max_patients_across_splits": 0}},
            "audit: max_patients_across_splits",
        ),
        ({"gate": {"min_accuracy": 1.5}}, "gate.min_accuracy"),
        ({"gate": {"min_wilson_lower": -0.1}}, "gate.min_wilson_lower"),
        # No interval begins at 1: nothing would ever be blessed.
        ({"gate": {"min_wilson_lower": 1.0}}, "gate.min_wilson_lower"),
        ({"gate": {"min_wilson_lower": float("nan")}}, "gate.min_wilson_lower"),
        ({"gate": {"baseline_significance": 0}}, "gate.baseline_significance"),
        ({"gate": {"baseline_significance": 1}}, "gate.baseline_significance"),
        (
            {"gate": {"baseline_significance": 0.05, "against_baseline": False}},
            "gate.baseline_significance",
        ),
        *(
            ({"gate": {"slices": [SEX, wrong]}}, f"gate.slices.1{field}")
            for wrong, field in (
                ({"feature": "patient_id", "min_accuracy": 0.5}, ".feature"),
                ({"feature": " ", "min_accuracy": 0.5}, ".feature"),
                ({"min_accuracy": 0.5}, ".feature"),
                ({"feature": "sex", "value": "F"}, ": asks for nothing"),
                (SEX | {"value": " "}, ".value"),
                (SEX | {"value": " F"}, ".value"),
                (SEX | {"value": 1}, ".value"),
                (SEX | {"feature": "class", "value": "Covid"}, ".value"),
                (SEX | {"min_accuracy": 1.1}, ".min_accuracy"),
                (SEX | {"min_wilson_lower": 1.0}, ".min_wilson_lower"),
                (SEX | {"min_images": 0}, ".min_images"),
                (SEX | {"max_images": 9}, ".max_images"),
            )
        ),
        ({"featurizer": {"engine": "openvno"}}, "featurizer.engine"),
        ({"featurizer": {"precision": "f16"}}, "featurizer.precision"),
        ({"featurizer": {"precision": "int8"}}, "featurizer.precision: int8 is for serving alone"),
        ({"serve": {"precision": "int4"}}, "serve.precision"),
        ({"featurizer": {"engine": "tensorflow", "precision": "bf16"}}, "featurizer.precision"),
        *(
            ({"data": {"slice_columns": columns}}, "data.slice_columns")
            for columns in ([""], [" "], ["unit", "Unit "], ["FILE"], ["label"], ["sex"], ["age"])
        ),
        (
            {"data": {"slice_columns": []}, "gate": {"slices": [SEX | {"feature": "unit"}]}},
            "gate.slices.0.feature",
        ),
        ({"data": {"test_fraction": 1}}, "data.test_fraction"),
        ({"data": {"eval_fraction": "much"}}, "data.eval_fraction"),
        ({"data": {"dir": None}}, "data.dir"),
        ({"data": {"min_side": 0}}, "data.min_side"),
        ({"data": {"classes": [{"name": "A", "folders": ["a"]}]}}, "data.classes"),
        (
            {"data": {"classes": [{"name": n, "folders": ["same"]} for n in "AB"]}},
            "data.classes",
        ),
        ({"training": {"learning_rate": 0}}, "training.learning_rate"),
        ({"training": {"augmentations": ["mirror"]}}, "training"),
        ({"training": {"boundary": "block9"}}, "training.boundary"),
        ({"training": {"head": {"kind": "huge"}}}, "training.head.kind"),
        ({"training_overrides": {"vgg61": {}}}, "training_overrides"),
        (
            {"training_overrides": {"vgg16": {"learning_rate": 0}}},
            "training_overrides.vgg16.learning_rate",
        ),
        (
            {"backbones": ["vgg16"], "training_overrides": {"xception": {"nonsense": 9}}},
            "training_overrides.xception.nonsense",
        ),
        ({"tuning": {"mode": "on"}}, "tuning.mode"),
        ({"tuning": {"trials": 0}}, "tuning.trials"),
        ({"tuning": {"boundaries": []}}, "tuning.boundaries"),
        ({"tuning": {"boundaries": ["head", "head"]}}, "tuning.boundaries"),
        ({"tuning": {"boundaries": ["head", "block9"]}}, "tuning.boundaries"),
        # A backbone of the run that has none of them, and one that isn't in the run.
        ({"tuning": {"boundaries": ["block5"]}}, "tuning.boundaries"),
        (
            {"backbones": ["vgg16"], "tuning": {"boundaries": ["head", "conv5"]}},
            "tuning.boundaries",
        ),
        (
            {
                "backbones": ["vgg16"],
                "training": {"validation": "cross"},
                "tuning": {"mode": "search", "boundaries": ["head", "block5"]},
            },
            "tuning.boundaries",
        ),
        ({"training": {"validation": "cross", "head": {"dropout": 0.1}}}, "training"),
        (
            {
                "training": {"validation": "cross"},
                "training_overrides": {"vgg16": {"boundary": "block5"}},
            },
            "training_overrides.vgg16",
        ),
        ({"training": {"validation": "cross", "head": {"kind": "paper"}}}, "training"),
        ({"champion": {"prefer": "best"}}, "champion.prefer"),
        ({"beam_args": ["nonsense"]}, "beam_args"),
        (
            {"data": {"classes": [{"name": n, "folders": [f"../{n}"]} for n in "AB"]}},
            "data.classes",
        ),
        ({"data": {"classes": [{"name": n, "folders": [n]} for n in ("A", " ")]}}, "data.classes"),
        ({"data": {"classes": [{"name": n} for n in "AB"]}}, "data"),
        (
            {"data": {"layout": "table", "classes": [{"name": n, "labels": ["x"]} for n in "AB"]}},
            "data.classes",
        ),
        (
            {
                "data": {
                    "layout": "table",
                    "classes": [{"name": "A", "labels": [" "]}, {"name": "B"}],
                }
            },
            "data.classes.0.labels",
        ),
        ({"data": {"layout": "tree"}}, "data.layout"),
        ({"data": {"layout": "table", "dir": "s/{SPAN}", "metadata": "all.csv"}}, "data"),
        ({"data": {"views": ["PA"]}}, "data"),
        ({"data": {"layout": "table", "views": []}}, "data.views"),
        ({"data": {"columns": {"finding": "label"}}}, "data.columns"),
        ({"data": {"columns": {"label": " "}}}, "data.columns"),
        ({"data": {"columns": {"label": "a", "file": "A"}}}, "data.columns"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=rf"(?m)^\s+{field}|{field}:"):
        load_config(overrides=merge(DATA, values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kubeflow": {"history": "/h"}}, "kubeflow.history: is called 'pushed' now"),
        ({"training": {"views": ["identity"]}}, "training.views: is called 'augmentations' now"),
        (
            {"training_overrides": {"vgg16": {"views": ["identity"]}}},
            "training_overrides.vgg16.views: is called 'augmentations' now",
        ),
        (
            {"training": {"augmentation": {"zoom": 0.2}}},
            "training.augmentation: is called 'random_augmentation' now",
        ),
    ],
)
def test_a_field_that_has_another_name_now_is_refused_with_it(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        load_config(overrides=merge(DATA, values))


@pytest.mark.parametrize(
    ("values", "validation"),
    [
        ({}, "cross"),
        ({"training": {"head": {"kind": "paper"}}}, "holdout"),
        ({"training": {"validation": "holdout"}}, "holdout"),
        ({"training_overrides": {"vgg16": {"boundary": "block5"}}}, "holdout"),
        (
            {
                "training": {"validation": "cross"},
                "training_overrides": {"vgg16": {"boundary": "block5", "validation": "holdout"}},
            },
            "holdout",
        ),
    ],
)
def test_folds_judge_unless_the_network_trains(values: dict[str, Any], validation: str) -> None:
    config = load_config(overrides=merge(DATA, values))
    assert config.training_for("vgg16").validation == validation


def test_every_wrong_field_is_listed_at_once() -> None:
    with pytest.raises(InputError) as caught:
        load_config(overrides=merge(DATA, {"seed": -1, "gate": {"min_accuracy": 2}}))
    assert "seed" in str(caught.value)
    assert "gate.min_accuracy" in str(caught.value)


def test_missing_data_is_named() -> None:
    with pytest.raises(InputError, match="data"):
        load_config()


def test_an_override_for_one_backbone_leaves_the_others(tmp_path: Path) -> None:
    overrides = merge(DATA, {"training_overrides": {"vgg16": {"boundary": "block5"}}})
    config = load_config(overrides=overrides)
    assert config.training_for("vgg16").boundary == "block5"
    assert config.training_for("xception").boundary == "head"


def test_file_over_preset_and_flags_over_file(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump({"preset": "demo", "seed": 3, "data": {"dir": "a"}}))
    config = load_config(file, overrides={"seed": 4})
    assert config.preset == "demo"
    assert config.allow_random_weights
    assert config.seed == 4
    assert load_config(file, preset="fast").allow_random_weights is False


def test_relative_paths_in_a_file_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("data: {dir: images, metadata: m.csv}\noutput: out\nweights_dir: w\n")
    config = load_config(file)
    assert config.data.dir == tmp_path / "images"
    assert config.data.metadata == tmp_path / "m.csv"
    assert config.output == tmp_path / "out"
    assert config.weights_dir == tmp_path / "w"


@pytest.mark.parametrize("content", ["- a\n- b\n", "{", "a: b: c\n", "\udcff"])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"my\.yaml"):
        load_config(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml"):
        load_config(tmp_path / "gone.yaml")


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(InputError, match="quick"):
        load_config(preset="quick", overrides=DATA)


def test_slices_of_the_gate_have_defaults() -> None:
    slices = [{"feature": "class", "value": "Normal", "min_wilson_lower": 0.5}, SEX]
    one, every = load_config(overrides=merge(DATA, {"gate": {"slices": slices}})).gate.slices
    assert (one.value, one.min_accuracy, one.min_wilson_lower) == ("Normal", None, 0.5)
    assert one.min_images == every.min_images == 10
    assert (every.value, every.min_accuracy, every.min_wilson_lower) == (None, 0.8, None)


def test_further_columns_are_written_as_the_header_is_read() -> None:
    slices = [SEX | {"feature": "Unit"}, SEX | {"feature": "class"}]
    for columns in (None, [" UNIT", "licence"]):
        fields = {"data": {"slice_columns": columns}, "gate": {"slices": slices}}
        config = load_config(overrides=merge(DATA, fields))
        assert config.gate.slices[0].feature == "unit"
        assert config.data.slice_columns == (columns and ("unit", "licence"))


def test_fractions_stay_exact() -> None:
    config = load_config(overrides=merge(DATA, {"data": {"test_fraction": "0.1"}}))
    assert config.data.test_fraction == Decimal("0.1")


_TREE = st.recursive(
    st.integers() | st.none() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=2), _TREE, max_size=3))
def test_merging_nothing_changes_nothing(values: dict[str, Any]) -> None:
    assert merge(values, {}) == values
    assert merge({}, values) == values
    assert merge(values, values) == values
