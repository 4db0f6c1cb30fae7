"""What a training run can be told, as checked types. Imports no TensorFlow."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from models.backbones import BOUNDARY_INPUT, Scaling

View = Literal["identity", "mirror"]
VIEW_IDENTITY: Final[View] = "identity"
VIEW_MIRROR: Final[View] = "mirror"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadParams(_Strict):
    """The classifier behind the pooled features.

    Attributes:
        kind: `paper` is Dense(width, ReLU) -> Dense(classes, softmax) on the last tap;
            `regularised` standardises both taps and fits one L2-penalised softmax layer.
        width: units of the paper's hidden layer.
        dropout: rate in front of the softmax layer.
        l2: lambda of the penalty `lambda * sum(w^2)` on the softmax layer's kernel. With
            N training views it equals scikit-learn's C at lambda = 1 / (2 C N).
    """

    kind: Literal["paper", "regularised"] = "regularised"
    width: int = Field(1024, ge=1, le=65536)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    l2: float = Field(0.007, ge=0.0, le=10.0)


class AugmentationParams(_Strict):
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
    """How one backbone is trained.

    Attributes:
        boundary: what lies before it is frozen and cached (see `Backbone.boundaries`).
        scaling: overrides the backbone's input scaling; the paper uses `unit` (1/255).
        views: exact views cached of every training image; validation and test see the
            image as it is.
        head: the classifier.
        learning_rate: Adam's.
        batch_size: views a step.
        epochs: at most.
        early_stopping_patience: epochs without a better validation loss, or null to train
            all epochs. The best epoch's weights are kept in either case.
        plateau_patience: epochs after which the rate is multiplied by 0.2 (floor 1e-7, as
            in the paper's notebook), or null.
        augmentation: random changes, or null.
    """

    boundary: str = "head"
    scaling: Scaling | None = None
    views: tuple[View, ...] = (VIEW_IDENTITY, VIEW_MIRROR)
    head: HeadParams = HeadParams()
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    batch_size: int = Field(64, ge=1, le=4096)
    epochs: int = Field(200, ge=1, le=100_000)
    early_stopping_patience: int | None = Field(20, ge=1)
    plateau_patience: int | None = Field(None, ge=1)
    augmentation: AugmentationParams | None = None

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if VIEW_IDENTITY not in self.views:
            raise ValueError("views: must hold 'identity', the image as it is")
        if len(set(self.views)) != len(self.views):
            raise ValueError("views: each at most once")
        if self.augmentation is not None and self.boundary != BOUNDARY_INPUT:
            raise ValueError(
                "augmentation: needs boundary 'input', since cached features can't be augmented"
            )
        return self
