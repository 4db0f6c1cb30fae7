"""What TrainingParams lets through, and what its errors name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from pydantic import ValidationError

from models.augmentation_names import IMAGE_AND_MIRROR
from models.backbones import get_backbone
from models.hyperparameters import (
    HeadParams,
    RandomAugmentation,
    TrainingParams,
    apply_hyperparameters,
    taps_of_either_head,
)

VGG16 = get_backbone("vgg16")
INVALID: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"learning_rate": 0.0}, ("learning_rate",)),
    ({"learning_rate": 1.1}, ("learning_rate",)),
    ({"learning_rate": float("nan")}, ("learning_rate",)),
    ({"batch_size": 0}, ("batch_size",)),
    ({"batch_size": 4097}, ("batch_size",)),
    ({"batch_size": 2.5}, ("batch_size",)),
    ({"epochs": 0}, ("epochs",)),
    ({"epochs": 100_001}, ("epochs",)),
    ({"early_stopping_patience": 0}, ("early_stopping_patience",)),
    ({"plateau_patience": 0}, ("plateau_patience",)),
    ({"scaling": "imagenet"}, ("scaling",)),
    ({"augmentations": ["identity", "upside_down"]}, ("augmentations", "1")),
    ({"augmentations": "identity"}, ("augmentations",)),
    ({"head": {"kind": "svm"}}, ("head", "kind")),
    ({"head": {"width": 0}}, ("head", "width")),
    ({"head": {"width": 65537}}, ("head", "width")),
    ({"head": {"dropout": 1.0}}, ("head", "dropout")),
    ({"head": {"dropout": -0.1}}, ("head", "dropout")),
    ({"head": {"l2": -1e-9}}, ("head", "l2")),
    ({"head": {"l2": float("inf")}}, ("head", "l2")),
    ({"head": {"depth": 2}}, ("head", "depth")),
    ({"random_augmentation": {"shear_degrees": 45.1}}, ("random_augmentation", "shear_degrees")),
    ({"random_augmentation": {"shear_degrees": -0.2}}, ("random_augmentation", "shear_degrees")),
    ({"random_augmentation": {"zoom": 1.0}}, ("random_augmentation", "zoom")),
    ({"random_augmentation": {"zoom": float("nan")}}, ("random_augmentation", "zoom")),
    (
        {"random_augmentation": {"horizontal_flip": "perhaps"}},
        ("random_augmentation", "horizontal_flip"),
    ),
    ({"random_augmentation": {"rotation": 5}}, ("random_augmentation", "rotation")),
    ({"learning_rat": 0.1}, ("learning_rat",)),
    ({"validation": "folds"}, ("validation",)),
]


@pytest.mark.parametrize(("fields", "place"), INVALID, ids=[str(f) for f, _ in INVALID])
def test_an_invalid_field_is_the_one_that_the_error_names(
    fields: dict[str, Any], place: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingParams.model_validate({"boundary": "input"} | fields)
    (error,) = caught.value.errors()
    assert tuple(str(part) for part in error["loc"]) == place


@pytest.mark.parametrize(
    "augmentations", [["identity", "identity"], ["identity", "mirror", "mirror"]]
)
def test_duplicate_augmentations_are_refused(augmentations: list[str]) -> None:
    with pytest.raises(ValidationError, match="augmentations: each at most once"):
        TrainingParams.model_validate({"augmentations": augmentations})


@pytest.mark.parametrize("augmentations", [["mirror"], []])
def test_the_image_as_it_is_must_be_among_the_augmentations(augmentations: list[str]) -> None:
    with pytest.raises(ValidationError, match="augmentations: must hold 'identity'"):
        TrainingParams.model_validate({"augmentations": augmentations})


@pytest.mark.parametrize("boundary", ["head", "block5"])
def test_augmentation_needs_boundary_input(boundary: str) -> None:
    fields = {"boundary": boundary, "random_augmentation": {"zoom": 0.2}}
    with pytest.raises(ValidationError, match="random_augmentation: needs boundary 'input'"):
        TrainingParams.model_validate(fields)
    assert TrainingParams.model_validate(fields | {"boundary": "input"}).random_augmentation == (
        RandomAugmentation(zoom=0.2)
    )


CONVEX: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"head": {"l2": 0.1}}, True),
    ({"head": {"dropout": 0.1}}, False),
    ({"head": {"kind": "paper"}}, False),
    ({"boundary": "block5"}, False),
    ({"boundary": "input"}, False),
]


@pytest.mark.parametrize(("fields", "convex"), CONVEX, ids=[str(f) for f, _ in CONVEX])
def test_folds_judge_what_a_solver_fits_and_nothing_else(
    fields: dict[str, Any], convex: bool
) -> None:
    params = TrainingParams.model_validate(fields)
    assert params.convex is convex
    assert params.validation is None
    assert params.resolved(VGG16).validation == ("cross" if convex else "holdout")
    held_out = TrainingParams.model_validate(fields | {"validation": "holdout"}).resolved(VGG16)
    assert held_out.validation == "holdout"
    assert held_out.fitted_splits == ("train",)
    assert held_out.augmentations_of("train") == held_out.training_augmentations
    assert held_out.augmentations_of("eval") == ("identity",)
    crossed = fields | {"validation": "cross"}
    if convex:
        params = TrainingParams.model_validate(crossed)
        assert params.fitted_splits == ("train", "eval")
        assert (
            params.augmentations_of("eval")
            == params.augmentations_of("train")
            == params.training_augmentations
        )
        assert params.augmentations_of("test") == ("identity",)
    else:
        with pytest.raises(ValidationError, match="set validation to 'holdout', or leave it out"):
            TrainingParams.model_validate(crossed)


def test_folds_go_with_what_can_be_fitted_fold_by_fold() -> None:
    crossed = TrainingParams().resolved(VGG16)
    held_out = TrainingParams(validation="holdout").resolved(VGG16)
    for found in ({"boundary": "block5"}, {"head.kind": "paper"}, {"head.dropout": 0.2}):
        assert apply_hyperparameters(crossed, found, VGG16).validation == "holdout"
    assert apply_hyperparameters(crossed, {"head.l2": 0.2}, VGG16).validation == "cross"
    assert apply_hyperparameters(held_out, {"head.l2": 0.2}, VGG16).validation == "holdout"


def test_null_switches_off_early_stopping_and_plateau() -> None:
    params = TrainingParams(early_stopping_patience=None, plateau_patience=None)
    assert (params.early_stopping_patience, params.plateau_patience) == (None, None)


def test_params_survive_json_and_cannot_be_changed() -> None:
    params = TrainingParams(
        boundary="input",
        scaling="unit",
        augmentations=("mirror", "identity"),
        head=HeadParams(kind="paper", width=7, dropout=0.5),
        random_augmentation=RandomAugmentation(shear_degrees=0.2, vertical_flip=True),
    )
    stored = json.loads(json.dumps(params.model_dump()))
    assert TrainingParams.model_validate(stored) == params
    with pytest.raises(ValidationError, match="frozen"):
        params.epochs = 1  # type: ignore[misc]


def test_augmentations_are_the_tables_where_a_head_alone_is_trained() -> None:
    row = dataclasses.replace(VGG16, head_augmentations=("identity", "crop_nw"))
    assert TrainingParams().resolved(row).augmentations == ("identity", "crop_nw")
    assert TrainingParams(boundary="block5").resolved(row).augmentations == IMAGE_AND_MIRROR
    own = TrainingParams(augmentations=("identity",))
    assert own.resolved(row).augmentations == own.training_augmentations == ("identity",)
    assert TrainingParams().training_augmentations == IMAGE_AND_MIRROR


def test_what_a_search_found_replaces_its_fields_and_no_other() -> None:
    params = TrainingParams(epochs=7, head=HeadParams(dropout=0.1, l2=0.5)).resolved(VGG16)
    found = {"boundary": "block5", "learning_rate@block": 1e-5, "head.l2": 0.25}
    expected = params.model_copy(
        update={
            "boundary": "block5",
            "learning_rate": 1e-5,
            "head": params.head.model_copy(update={"l2": 0.25}),
        }
    )
    assert apply_hyperparameters(params, found, VGG16) == expected
    assert apply_hyperparameters(params, {}, VGG16) == params


def test_another_kind_of_head_stands_on_its_own_taps() -> None:
    params = TrainingParams(head=HeadParams(taps=("block3",))).resolved(VGG16)
    assert apply_hyperparameters(params, {"head.l2": 0.1}, VGG16).head.taps == ("block3",)
    paper = apply_hyperparameters(params, {"head.kind": "paper"}, VGG16)
    assert paper.head.taps == ("last",)
    back = apply_hyperparameters(paper, {"head.kind": "regularised"}, VGG16)
    assert back.head.taps == VGG16.head_taps
    assert taps_of_either_head(params, VGG16) == ("block3", "last")
    assert taps_of_either_head(paper, VGG16) == VGG16.head_taps


def test_an_augmentation_goes_with_the_images() -> None:
    params = TrainingParams(boundary="input", random_augmentation=RandomAugmentation(zoom=0.2))
    assert (
        apply_hyperparameters(params, {"learning_rate": 0.1}, VGG16).random_augmentation is not None
    )
    assert apply_hyperparameters(params, {"boundary": "head"}, VGG16).random_augmentation is None


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ({"learning_rat": 0.1}, ("learning_rat",)),
        ({"head.depth": 2}, ("head", "depth")),
        ({"head.dropout": 1.0}, ("head", "dropout")),
        ({"batch_size": 0}, ("batch_size",)),
    ],
)
def test_a_wrong_hyperparameter_is_the_one_that_the_error_names(
    found: dict[str, Any], place: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        apply_hyperparameters(TrainingParams(), found, VGG16)
    (error,) = caught.value.errors()
    assert error["loc"] == place
