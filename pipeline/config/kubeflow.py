"""The part of the configuration that only Kubeflow reads. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from common.strict import Strict

# Kubernetes' quantities of memory, to gigabytes (10⁹ bytes), KFP's unit.
_MEMORY: Final = re.compile(r"(\d+(?:\.\d+)?)(Gi|Mi|G|M)")
_GIGABYTES: Final = {"Gi": 2**30 / 1e9, "Mi": 2**20 / 1e9, "G": 1.0, "M": 1e-3}
# Of node ids, that before the dot: Trainer of Trainer.vgg16.
DEFAULT_STEP: Final = "default"


class StepResources(Strict):
    """The resources that a step asks Kubernetes for, and is held to.

    Attributes:
        cpu: cores; neither asked for nor limited where null.
        memory: a quantity such as `8Gi` or `512Mi`; likewise where null.
        accelerator: the resource's name, such as `nvidia.com/gpu`; none where null.
        accelerators: how many of `accelerator`.
    """

    cpu: float | None = Field(None, gt=0)
    memory: str | None = None
    accelerator: str | None = None
    accelerators: int = Field(1, ge=1)

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, memory: str | None) -> str | None:
        if memory is not None and not _MEMORY.fullmatch(memory):
            raise ValueError(f"{memory!r} is no amount of memory: write 8Gi or 512Mi")
        return memory

    @property
    def memory_gigabytes(self) -> float | None:
        """`memory` in 10⁹ bytes."""
        match = _MEMORY.fullmatch(self.memory) if self.memory else None
        return float(match[1]) * _GIGABYTES[match[2]] if match else None


class Volume(Strict):
    """A PersistentVolumeClaim that every step sees.

    Attributes:
        claim: its name in the namespace of the runs.
        mount_path: where it is seen in the containers.
    """

    claim: str = Field(min_length=1)
    mount_path: str = Field(pattern=r"^/.+")


class SecretVariable(Strict):
    """An environment variable of every step, whose value stays in a Kubernetes Secret.

    Attributes:
        secret: the Secret's name.
        key: under which the Secret holds the value.
        variable: the environment variable's name.
    """

    secret: str = Field(min_length=1)
    key: str = Field(min_length=1)
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class KubeflowConfig(Strict):
    """The settings that a run on Kubeflow needs on top.

    Attributes:
        image: of all steps, built from kubeflow/Dockerfile.
        data: folder of images as the steps see it: on a volume, or a URI (gs://, s3://, …).
        metadata: `metadata.csv`, path or URI likewise; the one in `data` where null.
        weights: folder with the files of `weights_dir`, path or URI likewise.
        root: URI of the artifacts; the installation's own where null.
        serving: folder or URI that models are pushed to.
        pushed: folder or URI that keeps what each pushed version was trained with.
        data_version: names a state of the images. Steps that would compute the same again
            are then taken from the cache; without one, none is.
        retries: how often a step that failed is tried again.
        retry_seconds: the pause before the first retry.
        retry_factor: by which each further pause is longer.
        retry_seconds_max: the longest pause.
        resources: what the steps ask for, by their id or the part of it before the dot;
            `default` for others.
        volumes: mounted in every step.
        secrets: environment variables of every step.
    """

    image: str = Field("cxr-tfx:latest", min_length=1)
    data: str | None = None
    metadata: str | None = None
    weights: str | None = None
    root: str | None = None
    serving: str = Field("/cxr/serving", min_length=1)
    pushed: str = Field("/cxr/pushed", min_length=1)
    data_version: str = ""
    retries: int = Field(1, ge=0, le=10)
    retry_seconds: int = Field(30, ge=1)
    retry_factor: float = Field(2.0, ge=1.0)
    retry_seconds_max: int = Field(3600, ge=1)
    resources: dict[str, StepResources] = Field(
        default_factory=lambda: {DEFAULT_STEP: StepResources(cpu=2, memory="8Gi")}
    )
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        serving, pushed = self.serving.rstrip("/") + "/", self.pushed.rstrip("/") + "/"
        if pushed.startswith(serving) or serving.startswith(pushed):
            raise ValueError("pushed: must lie outside serving, since it names patients")
        return self

    def resources_of(self, step: str) -> StepResources:
        """Return the resources of a step.

        Args:
            step: id of the node, such as `Trainer.vgg16`.
        """
        kind = step.partition(".")[0]
        found = self.resources.get(step) or self.resources.get(kind)
        return found or self.resources.get(DEFAULT_STEP) or StepResources()
