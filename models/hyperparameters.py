"""The settings of a training run, as checked types. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from models.augmentation_names import IDENTITY, IMAGE_AND_MIRROR, Augmentation
from models.backbones import BOUNDARY_HEAD, BOUNDARY_INPUT, TAP_LAST, Backbone, Scaling
from schema import contract

# Of `validation`.
CROSS: Final = "cross"
HOLDOUT: Final = "holdout"
# Adam's, for a regularised head with dropout alone, where a block trains behind it.
HEAD_LEARNING_RATE: Final = 1e-3
_OF_HEAD: Final = "head."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadParams(_Strict):
    """The classifier behind the pooled features.

    Attributes:
        kind: `paper` is Dense(width, ReLU) -> Dense(classes, softmax) on the last tap;
            `regularised` standardises its taps and fits one L2-penalised softmax layer.
        taps: of the backbone's pooled taps, those that the regularised head stands on; the
            table's `head_taps` where null.
        width: units of the paper's hidden layer.
        dropout: rate in front of the softmax layer. A regularised head without it has a convex
            loss: in front of a network that doesn't train, L-BFGS fits it to the minimum.
        l2: lambda of the penalty `lambda * sum(w^2)` on the softmax layer's kernel. With
            N training images, each augmentation counted, it equals scikit-learn's C at
            lambda = 1 / (2 C N). The table's
            `head_l2` where null.
    """

    kind: Literal["paper", "regularised"] = "regularised"
    taps: tuple[str, ...] | None = Field(None, min_length=1)
    width: int = Field(1024, ge=1, le=65536)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    l2: float | None = Field(None, ge=0.0, le=10.0)


class RandomAugmentation(_Strict):
    """Random changes of the training images; only where nothing is frozen.

    Attributes:
        shear_degrees: angle; the paper's `shear_range=0.2` is in degrees, since that is
            how Keras' ImageDataGenerator reads it.
        zoom: height and width each by a factor from 1-zoom to 1+zoom.
        horizontal_flip: mirror at random.
        vertical_flip: turn upside down at random.
    """

    shear_degrees: float = Field(0.0, ge=0.0, le=45.0)
    zoom: float = Field(0.0, ge=0.0, lt=1.0)
    horizontal_flip: bool = False
    vertical_flip: bool = False


class TrainingParams(_Strict):
    """The recipe by which one backbone is trained.

    Where L-BFGS fits the head (see `HeadParams.dropout`), `learning_rate`, `schedule`,
    `batch_size`, `early_stopping_patience` and `plateau_patience` have no say.

    Attributes:
        boundary: what lies before it is frozen and cached (see `Backbone.boundaries`).
        scaling: overrides the backbone's input scaling; the paper uses `unit` (1/255).
        augmentations: exact changes, cached, of every image that is fitted; what judges,
            validation and test, sees the image as it is. Where null and the boundary is `head`,
            the table's `head_augmentations`; where more is trained, the image and its mirror.
        head: the classifier.
        warm_start: where a block trains, fit the regularised head alone first (by L-BFGS; with
            dropout, at HEAD_LEARNING_RATE): a random head's gradients would spoil pre-trained
            weights.
        learning_rate: Adam's.
        schedule: of the learning rate, over all epochs: `constant`, or `cosine`, half a
            cosine from `learning_rate` to nothing (Loshchilov and Hutter 2017, without
            restarts).
        precision: of the training steps; `bfloat16` keeps variables and losses in float32.
            `auto` takes bfloat16 where `models.devices` knows it to be faster.
        batch_size: images a step, each augmentation counted.
        epochs: at most; of L-BFGS, iterations, each over all augmentations of all images, as an
            epoch is.
        early_stopping_patience: epochs without a better validation loss, or null to train
            all epochs. The best epoch's weights are kept in either case; of L-BFGS, the last.
        plateau_patience: epochs after which the rate is multiplied by 0.2 (floor 1e-7, as
            in the paper's notebook), or null.
        random_augmentation: random changes, new in each epoch, or null.
        validation: what temperature, thresholds and the champion are chosen by. `cross`: five
            folds of train and validation split, no patient in two of them, each answered by
            a head that was fitted to the others; then the head is fitted to both splits.
            `holdout`: the head is fitted to the train split, and answers the validation
            split. Where null, `cross` where L-BFGS fits the head, and else `holdout`.
    """

    boundary: str = "head"
    scaling: Scaling | None = None
    augmentations: tuple[Augmentation, ...] | None = None
    head: HeadParams = HeadParams()
    warm_start: bool = True
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: int = Field(64, ge=1, le=4096)
    epochs: int = Field(200, ge=1, le=100_000)
    early_stopping_patience: int | None = Field(20, ge=1)
    plateau_patience: int | None = Field(None, ge=1)
    random_augmentation: RandomAugmentation | None = None
    validation: Literal["cross", "holdout"] | None = None

    @property
    def convex(self) -> bool:
        """True where L-BFGS fits all that trains, so that nothing needs images to stop by."""
        head = self.head
        return self.boundary == BOUNDARY_HEAD and head.kind == "regularised" and not head.dropout

    @property
    def fitted_splits(self) -> tuple[str, ...]:
        """The splits to whose images the model is fitted in the end."""
        both = (contract.SPLIT_TRAIN, contract.SPLIT_EVAL)
        return both if self.validation == CROSS else both[:1]

    def augmentations_of(self, split: str) -> tuple[Augmentation, ...]:
        """Return what is made of a split's images: all of those fitted, else the image itself."""
        return self.training_augmentations if split in self.fitted_splits else (IDENTITY,)

    @property
    def training_augmentations(self) -> tuple[Augmentation, ...]:
        """`augmentations`, or the image and its mirror where the table has not been asked yet."""
        return IMAGE_AND_MIRROR if self.augmentations is None else self.augmentations

    @model_validator(mode="after")
    def _check_augmentations(self) -> Self:
        given = self.augmentations
        if given is not None and IDENTITY not in given:
            raise ValueError("augmentations: must hold 'identity', the image as it is")
        if given is not None and len(set(given)) != len(given):
            raise ValueError("augmentations: each at most once")
        if self.random_augmentation is not None and self.boundary != BOUNDARY_INPUT:
            raise ValueError(
                "random_augmentation: needs boundary 'input', since what is cached doesn't change"
            )
        if self.schedule == "cosine" and self.plateau_patience is not None:
            raise ValueError("schedule: with 'cosine', plateau_patience must be null")
        if self.validation == CROSS and not self.convex:
            raise ValueError(
                "validation: 'cross' fits the head six times, which only a regularised head "
                "without dropout behind a frozen network ('boundary: head') allows; set "
                "validation to 'holdout', or leave it out"
            )
        return self

    def resolved(self, backbone: Backbone) -> Self:
        """Fill in from the table what is left to the backbone.

        Args:
            backbone: its table entry.

        Returns:
            Parameters whose `augmentations`, `validation`, `head.taps` and `head.l2` are given.
        """
        head = self.head
        default = backbone.head_taps
        if self.boundary != BOUNDARY_HEAD and TAP_LAST not in default:
            # What trains must be seen: the table's taps may all lie before the boundary.
            default = (*default, TAP_LAST)
        taps = (TAP_LAST,) if head.kind == "paper" else head.taps or default
        l2 = backbone.head_l2 if head.l2 is None else head.l2
        at_head = self.boundary == BOUNDARY_HEAD
        augmentations = backbone.head_augmentations if at_head else IMAGE_AND_MIRROR
        return self.model_copy(
            update={
                "augmentations": augmentations
                if self.augmentations is None
                else self.augmentations,
                "validation": self.validation or (CROSS if self.convex else HOLDOUT),
                "head": head.model_copy(update={"taps": taps, "l2": l2}),
            }
        )


def apply_hyperparameters(
    params: TrainingParams, values: Mapping[str, Any], backbone: Backbone
) -> TrainingParams:
    """Put what a search found into a recipe.

    What belongs to a head or a boundary that is replaced goes with it: the taps of another
    kind of head, an augmentation of images that are no longer there, and cross-validation
    of what only Keras can fit.

    Args:
        params: the recipe, resolved or not.
        values: fields of TrainingParams by dotted name, such as `head.l2`; what follows an
            `@` says where a range of the search counts, and no more.
        backbone: the table entry.

    Returns:
        The recipe, resolved.

    Raises:
        ValueError: names each field that there isn't, or whose value is wrong.
    """
    fields = params.model_dump()
    head = fields["head"]
    if values.get("head.kind", head["kind"]) != head["kind"]:
        head["taps"] = None
    if values.get("boundary", params.boundary) != BOUNDARY_INPUT:
        fields["random_augmentation"] = None
    if params.validation == CROSS:
        fields["validation"] = None
    for key, value in values.items():
        name = key.partition("@")[0]
        (head if name.startswith(_OF_HEAD) else fields)[name.removeprefix(_OF_HEAD)] = value
    return TrainingParams.model_validate(fields).resolved(backbone)


def taps_of_each_head(
    params: TrainingParams, backbone: Backbone
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the taps of the regularised head, and those of the paper's.

    Args:
        params: the recipe from which a search starts.
        backbone: the table entry.
    """
    regularised = apply_hyperparameters(params, {"head.kind": "regularised"}, backbone)
    return regularised.head.taps or (), (TAP_LAST,)


def taps_of_either_head(params: TrainingParams, backbone: Backbone) -> tuple[str, ...]:
    """Return the taps that a search needs, whichever kind of head it tries.

    Args:
        params: the recipe that it starts from.
        backbone: the table entry.
    """
    of_one, of_other = taps_of_each_head(params, backbone)
    return tuple(dict.fromkeys((*of_one, *of_other)))
