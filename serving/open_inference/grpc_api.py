"""The protocol's GRPCInferenceService."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from tensorflow_serving.apis import model_pb2

from serving.core.rollout import place_of
from serving.core.service import Service
from serving.open_inference.http_infer import SIGNATURE
from serving.open_inference.messages import SERVICE, message
from serving.open_inference.model_facts import (
    EXTENSIONS,
    NAME,
    TensorFacts,
    facts_of,
    is_model_ready,
    server_version,
)
from serving.open_inference.paths import model_ref
from serving.open_inference.tensors import (
    Head,
    check_types,
    datatype_of_array,
    from_bytes,
    from_list,
    to_bytes,
    wanted_outputs,
)
from serving.protocol.paths import ModelRef
from serving.protocol.status import invalid
from serving.protocol.tensors import Tensors

# Datatype -> the field of InferTensorContents that holds its values.
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
Work = Callable[[ModelRef], Awaitable[Any]]
# (method, ModelSpec, context, work) -> answer; counts, logs and tells errors.
Call = Callable[[str, Any, Any, Work], Awaitable[Any]]


def open_inference_handler(service: Service, call: Call) -> grpc.GenericRpcHandler:
    """Make what a gRPC server needs to answer this protocol.

    Args:
        service: that answers.
        call: wraps each question about a model.
    """
    api = _OpenInference(service, call)
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(api, name),
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=message(f"{name}Response").SerializeToString,
        )
        for name in (
            *("ServerLive", "ServerReady", "ServerMetadata"),
            *("ModelReady", "ModelMetadata", "ModelInfer"),
        )
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


class _OpenInference:
    """The methods, under the protocol's names."""

    def __init__(self, service: Service, call: Call) -> None:
        self._service = service
        self._call = call

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return message("ServerReadyResponse")(ready=self._service.manager.is_ready())

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return message("ServerMetadataResponse")(
            name=NAME, version=server_version(), extensions=EXTENSIONS
        )

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        async def work(ref: ModelRef) -> Any:
            ready = is_model_ready(self._service, _meant(ref, request.version))
            return message("ModelReadyResponse")(ready=ready)

        return await self._call("model_ready", _spec(request.name), context, work)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        async def work(ref: ModelRef) -> Any:
            facts = facts_of(self._service, _meant(ref, request.version))
            response = message("ModelMetadataResponse")(
                name=facts.name, versions=facts.versions, platform=facts.platform
            )
            _describe(facts.inputs, response.inputs)
            _describe(facts.outputs, response.outputs)
            return response

        return await self._call("metadata", _spec(request.name), context, work)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        async def work(ref: ModelRef) -> Any:
            return await self._infer(_meant(ref, request.model_version), request)

        return await self._call("infer", _spec(request.model_name), context, work)

    async def _infer(self, ref: ModelRef, request: Any) -> Any:
        heads, inputs = _inputs(request)
        signature = _signature_name(request)
        wanted = [output.name for output in request.outputs]
        with self._service.manager.borrow(ref, partial(place_of, inputs)) as lent:
            check_types(heads, lent.servable.signature(signature).inputs)
            outputs = await asyncio.wrap_future(
                self._service.predict(lent, signature, inputs, wanted)
            )
        response = message("ModelInferResponse")(
            model_name=ref.name, model_version=str(lent.version), id=request.id
        )
        found = wanted_outputs(outputs, wanted)
        # As the client sent its inputs; but there is no other way for float16.
        halves = any(array.dtype == np.float16 for array in found.values())
        raw = bool(request.raw_input_contents) or halves
        for name, array in found.items():
            datatype = datatype_of_array(array)
            tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if raw:
                response.raw_output_contents.append(to_bytes(array))
            else:
                getattr(tensor.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
        return response


def _spec(name: str) -> Any:
    return model_pb2.ModelSpec(name=name)


def _meant(ref: ModelRef, version: str) -> ModelRef:
    return model_ref(ref.name, version)


def _describe(facts: tuple[TensorFacts, ...], described: Any) -> None:
    for tensor in facts:
        described.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _signature_name(request: Any) -> str:
    if SIGNATURE not in request.parameters:
        return ""
    parameter = request.parameters[SIGNATURE]
    if parameter.WhichOneof("parameter_choice") != "string_param":
        raise invalid(f"the parameter '{SIGNATURE}' must be a string")
    return str(parameter.string_param)


def _inputs(request: Any) -> tuple[dict[str, Head], Tensors]:
    raw = list(request.raw_input_contents)
    if not request.inputs:
        raise invalid("'inputs' is missing, or empty")
    if raw and len(raw) != len(request.inputs):
        raise invalid(f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs")
    heads: dict[str, Head] = {}
    inputs: Tensors = {}
    for index, tensor in enumerate(request.inputs):
        head = Head(tensor.name, tensor.datatype, tuple(tensor.shape))
        head.check()
        if head.name in heads:
            raise invalid(f"input {head.name} is there twice")
        heads[head.name] = head
        if raw and tensor.HasField("contents"):
            raise invalid(f"input {head.name} has contents beside raw_input_contents")
        inputs[head.name] = from_bytes(head, raw[index]) if raw else _typed(head, tensor)
    return heads, inputs


def _typed(head: Head, tensor: Any) -> Any:
    if head.datatype not in _CONTENTS:
        raise invalid(f"input {head.name}: {head.datatype} goes into raw_input_contents")
    return from_list(head, getattr(tensor.contents, _CONTENTS[head.datatype]))
