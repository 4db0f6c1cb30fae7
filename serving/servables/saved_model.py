"""The signatures of a SavedModel, read from its file without loading the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.protocol.status import ServingError
from serving.protocol.tensors import TensorSpec
from serving.servables.servable import Signature

_FILE: Final = "saved_model.pb"
_SERVE_TAG: Final = "serve"
# Signatures that SavedModels hold for TensorFlow's own use.
_INTERNAL: Final = "__saved_model_init_op"


def read_signature_defs(directory: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Read the signatures of the graph that is there to be served.

    Args:
        directory: a version's folder.

    Raises:
        ServingError: it holds no SavedModel, a damaged one, or none to be served.
    """
    file = directory / _FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ServingError(
            StatusCode.NOT_FOUND, f"Could not find SavedModel .pb at: {directory}"
        ) from error
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ServingError(StatusCode.DATA_LOSS, f"Can't parse {file} as binary proto") from error
    for graph in model.meta_graphs:
        if _SERVE_TAG in graph.meta_info_def.tags:
            return {k: v for k, v in graph.signature_def.items() if k != _INTERNAL}
    raise ServingError(
        StatusCode.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {_SERVE_TAG} }} in {directory}",
    )


def signatures_of(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
) -> dict[str, Signature]:
    """Read the same, as plain objects."""
    return {
        name: Signature(
            name,
            definition.method_name,
            {
                alias: _spec(info, definition.defaults.get(alias))
                for alias, info in definition.inputs.items()
            },
            {alias: _spec(info) for alias, info in definition.outputs.items()},
        )
        for name, definition in definitions.items()
    }


def _spec(
    info: meta_graph_pb2.TensorInfo, default: tensor_pb2.TensorProto | None = None
) -> TensorSpec:
    type_name = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    if info.tensor_shape.unknown_rank:
        return TensorSpec(type_name)
    shape = tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(type_name, shape, None if default is None else _row_of(default))


def _row_of(default: tensor_pb2.TensorProto) -> Any:
    """Return the one row's value that a default has; None where it has others."""
    import tensorflow as tf

    values = tf.make_ndarray(default)
    return values[0] if values.shape == (1,) else None
