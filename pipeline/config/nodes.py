"""The configuration of single nodes. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from common.strict import Strict


class ChampionConfig(Strict):
    """The choice of the model that is pushed as `champion`, among those that pass the gate.

    Attributes:
        prefer: `accurate`: the one with the lowest log loss on the images that the models are
            judged by. `cheap`: of those within one standard error of it, the one with the
            fewest multiply-adds.
    """

    prefer: Literal["accurate", "cheap"] = "accurate"


class FeaturizerConfig(Strict):
    """The engine of the frozen networks (`pipeline.resolve.engine` says what `auto` takes).

    Attributes:
        engine: whose forward pass.
        precision: of OpenVINO's; TensorFlow's is f32.
        store: folder or URI (gs://) that keeps the features of every image by what they depend on,
            so that another split, seed, span or study finds them; `features` in `output` where
            null. On Kubeflow, where each step has to reach it, there is none where null.
    """

    engine: Literal["auto", "openvino", "tensorflow"] = "auto"
    precision: Literal["auto", "bf16", "f32"] = "auto"
    store: str | None = Field(None, min_length=1)

    @field_validator("precision", mode="before")
    @classmethod
    def _check_not_int8(cls, precision: object) -> object:
        if precision == "int8":
            raise ValueError(
                "int8 is for serving alone, since what it is unsure of is asked again in bf16 or "
                "f32, and a head knows one kind of features only; set serve.precision: int8, and "
                "leave this one at auto"
            )
        return precision

    @field_validator("precision")
    @classmethod
    def _check_precision(cls, precision: str, info: ValidationInfo) -> str:
        if precision == "bf16" and info.data.get("engine") == "tensorflow":
            raise ValueError("only OpenVINO has bf16; TensorFlow's features are f32")
        return precision


class ServeConfig(Strict):
    """The precision in which `cxr serve` runs the networks of what this run pushes.

    Attributes:
        precision: `auto`: the server takes bf16 where its CPU has it, else f32. `int8`: each model
            that passes the gate is quantised, which takes 20 to 150 seconds of a CPU a network;
            int8 is then used where no class and no probability changes on the validation images
            and it is faster, and what int8 is unsure of is asked again in bf16 or f32. `bf16`,
            `f32`: the server takes that.
    """

    precision: Literal["auto", "int8", "bf16", "f32"] = "auto"


class PushConfig(Strict):
    """The signature of each version that is pushed.

    Attributes:
        signing_key: private key on an elliptic curve, in PEM, unencrypted: a file. On Kubeflow,
            where the steps see it, on one of `kubeflow.volumes`. Without a key nothing is signed.
        signing_key_variable: environment variable that holds the PEM instead; on Kubeflow, one of
            `kubeflow.secrets`.
        signed_by: SHA-256 of the public key's PEM, which the key has to belong to; a run on this
            machine finds it itself, so that another key leads to another push.
    """

    signing_key: Path | None = None
    signing_key_variable: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    signed_by: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.signing_key and self.signing_key_variable:
            raise ValueError("give either signing_key or signing_key_variable")
        if self.signed_by and not (self.signing_key or self.signing_key_variable):
            raise ValueError("signed_by: there is no key; give signing_key or signing_key_variable")
        return self


class InputGateConfig(Strict):
    """The input gate of models that see images: blank, inverted, turned, of another look.

    Attributes:
        false_alarms: the share of images like the training's that may be kept out by mistake; on
            images that nothing was fitted to, it is kept by choice of the thresholds.
    """

    false_alarms: float = Field(0.01, gt=0.0, le=0.2)


class InfraValidationConfig(Strict):
    """The check that serves a model for a moment before it is pushed.

    Attributes:
        mode: `off`; `embedded`: by `cxr serve`, in a fresh process; `docker`: by TensorFlow
            Serving in a container, which is TFX's InfraValidator and needs a Docker daemon
            that has the image.
        images: how many are sent, `embedded` of each class and of either split, `docker` in all.
        docker_tags: of TensorFlow Serving's image, each tried.
    """

    mode: Literal["off", "embedded", "docker"] = "off"
    images: int = Field(2, ge=1, le=100)
    docker_tags: tuple[str, ...] = Field(("2.16.1",), min_length=1)
