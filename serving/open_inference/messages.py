"""The protocol's protocol buffers, described in Python.

Code that protoc writes fits one generation of protobuf, and the two TFX need protobuf 3 and 6.
Names and numbers are those of the protocol's `open_inference_grpc.proto`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool

from common.compat import message_class

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"
# A message a paragraph: its name, then its fields as in a .proto file. What stands behind a dot is
# a message within another.
_MESSAGES: Final = """
ServerLiveRequest

ServerLiveResponse
bool live = 1

ServerReadyRequest

ServerReadyResponse
bool ready = 1

ModelReadyRequest
string name = 1
string version = 2

ModelReadyResponse
bool ready = 1

ServerMetadataRequest

ServerMetadataResponse
string name = 1
string version = 2
repeated string extensions = 3

ModelMetadataRequest
string name = 1
string version = 2

ModelMetadataResponse
string name = 1
repeated string versions = 2
string platform = 3
repeated ModelMetadataResponse.TensorMetadata inputs = 4
repeated ModelMetadataResponse.TensorMetadata outputs = 5

ModelMetadataResponse.TensorMetadata
string name = 1
string datatype = 2
repeated int64 shape = 3

ModelInferRequest
string model_name = 1
string model_version = 2
string id = 3
map parameters = 4
repeated ModelInferRequest.InferInputTensor inputs = 5
repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6
repeated bytes raw_input_contents = 7

ModelInferRequest.InferInputTensor
string name = 1
string datatype = 2
repeated int64 shape = 3
map parameters = 4
InferTensorContents contents = 5

ModelInferRequest.InferRequestedOutputTensor
string name = 1
map parameters = 2

ModelInferResponse
string model_name = 1
string model_version = 2
string id = 3
map parameters = 4
repeated ModelInferResponse.InferOutputTensor outputs = 5
repeated bytes raw_output_contents = 6

ModelInferResponse.InferOutputTensor
string name = 1
string datatype = 2
repeated int64 shape = 3
map parameters = 4
InferTensorContents contents = 5

InferParameter
oneof bool bool_param = 1
oneof int64 int64_param = 2
oneof string string_param = 3
oneof double double_param = 4
oneof uint64 uint64_param = 5

InferTensorContents
repeated bool bool_contents = 1
repeated int32 int_contents = 2
repeated int64 int64_contents = 3
repeated uint32 uint_contents = 4
repeated uint64 uint64_contents = 5
repeated float fp32_contents = 6
repeated double fp64_contents = 7
repeated bytes bytes_contents = 8
"""
_FIELD: Final = re.compile(r"(?:(repeated|oneof) )?([\w.]+) (\w+) = (\d+)")
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = (
    "bool",
    "string",
    "bytes",
    "int32",
    "int64",
    "uint32",
    "uint64",
    "float",
    "double",
)
_MAP: Final = "map"


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="cxr_tfx/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    for paragraph in _MESSAGES.strip().split("\n\n"):
        full_name, *fields = paragraph.splitlines()
        outer, _, name = full_name.rpartition(".")
        message = made[outer].nested_type.add() if outer else file.message_type.add()
        message.name = name
        made[full_name] = message
        for line in fields:
            _add_field(message, full_name, line)
    return file


def _add_field(message: Any, full_name: str, line: str) -> None:
    match = _FIELD.fullmatch(line)
    assert match is not None
    label, kind, name, number = match.groups()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if label == "repeated" or kind == _MAP:
        field.label = _Field.LABEL_REPEATED
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
        return
    field.type = _Field.TYPE_MESSAGE
    if kind != _MAP:
        field.type_name = f".{PACKAGE}.{kind}"
        return
    # All maps are of parameters.
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=_Field.TYPE_MESSAGE,
        type_name=f".{PACKAGE}.InferParameter",
        label=_Field.LABEL_OPTIONAL,
    )
    field.type_name = f".{PACKAGE}.{full_name}.ParametersEntry"


# A pool of its own: a client of another project in the same process has messages of these names.
_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_described().SerializeToString())


def message(name: str) -> Any:
    """Return a message's class, such as that of `ModelInferRequest`."""
    return message_class(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
