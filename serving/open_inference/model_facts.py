"""The facts that a server tells of itself and its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from serving.core.manager import State
from serving.core.service import Service
from serving.open_inference.tensors import datatype_of
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError
from serving.protocol.tensors import TensorSpec

NAME: Final = "cxr-tfx"
# As Triton calls the binary extension.
EXTENSIONS: Final = ("binary_tensor_data",)
_PLATFORM: Final = "tensorflow_savedmodel"


@dataclass(frozen=True)
class TensorFacts:
    """A tensor of a model: -1 for a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelFacts:
    """A model, by its default signature.

    Attributes:
        name: of it.
        versions: that answer, the highest first.
        platform: what it is.
        inputs: in the order of their names.
        outputs: the same.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


def server_version() -> str:
    """Return this project's version."""
    return metadata.version(NAME)


def facts_of(service: Service, ref: ModelRef) -> ModelFacts:
    """Describe a model.

    Raises:
        ServingError: there is no such model or version.
    """
    with service.manager.borrow(ref) as lent:
        signature = lent.servable.signature("")
    available = [s for s in service.manager.status(ModelRef(ref.name)) if _answers(s.state)]
    return ModelFacts(
        ref.name,
        tuple(str(status.version) for status in available),
        _PLATFORM,
        _tensors(signature.inputs),
        _tensors(signature.outputs),
    )


def is_model_ready(service: Service, ref: ModelRef) -> bool:
    """Return whether a version answers.

    Raises:
        ServingError: there is no such model or version at all.
    """
    service.manager.status(ref)
    try:
        with service.manager.borrow(ref):
            return True
    except ServingError:
        return False


def _answers(state: State) -> bool:
    return state == State.AVAILABLE


def _tensors(specs: Mapping[str, TensorSpec]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(name, datatype_of(specs[name]), specs[name].shape or ())
        for name in sorted(specs)
    )
