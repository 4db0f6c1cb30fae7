"""TensorFlow Serving's PredictionService and ModelService."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

import grpc
import grpc.aio
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from common.errors import InputError
from serving.core.manager import Lent
from serving.core.model_config import from_message
from serving.core.rollout import place_of, place_of_examples
from serving.core.service import Service, classes_of, regressions_of
from serving.open_inference.grpc_api import open_inference_handler
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import Tensors
from serving.servables.servable import CLASSIFY, DEFAULT_SIGNATURE, REGRESS
from serving.server import messages
from serving.server.metrics import Metrics

LOGGER: Final = logging.getLogger("cxr.serving")
Context = grpc.aio.ServicerContext
# (servable, ModelSpec, Input, result to fill)
Answer = Callable[[Lent, Any, Any, Any], Awaitable[None]]


async def _outputs(future: Future[Tensors]) -> Tensors:
    return await asyncio.wrap_future(future)


def _place(source: Any) -> Callable[[], float]:
    """Say where a request of examples stands among all, once it is asked."""
    return lambda: place_of_examples(messages.serialized_examples(source))


class _Calls:
    """The part that both services share: errors, metrics and a log line a call."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.service = service
        self._metrics = metrics

    async def call(
        self, method: str, spec: Any, context: Context, work: Callable[[ModelRef], Awaitable[Any]]
    ) -> Any:
        """Answer, or end the call with the error's code and words."""
        began = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            return await asyncio.wait_for(
                work(messages.to_ref(spec)), self.service.limits.request_seconds
            )
        except ServingError as error:
            code = error.code
            await context.abort(error.code, error.message)
        except asyncio.TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            seconds = self.service.limits.request_seconds
            await context.abort(code, f"No answer after {seconds:g} s")
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            LOGGER.exception("%s", method)
            await context.abort(code, "The server failed; its log says why")
        finally:
            seconds = time.monotonic() - began
            self._metrics.answered(spec.name, "grpc", method, code.name, seconds)
            LOGGER.info(
                "grpc %s %s model=%s %.1f ms",
                method,
                code.name,
                spec.name.encode("unicode_escape").decode()[:200],
                1000 * seconds,
            )


class PredictionApi(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference, GetModelMetadata."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        """Keep both."""
        self._service = service
        self._calls = _Calls(service, metrics)

    async def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: Context
    ) -> predict_pb2.PredictResponse:
        """Answer by any signature."""

        async def work(ref: ModelRef) -> Any:
            spec = request.model_spec

            def place() -> float:
                return place_of(messages.to_tensors(dict(request.inputs)))

            with self._service.manager.borrow(ref, place) as lent:
                inputs = messages.to_tensors(dict(request.inputs))
                outputs = await _outputs(
                    self._service.predict(lent, spec.signature_name, inputs, request.output_filter)
                )
            response = predict_pb2.PredictResponse()
            messages.fill_spec(response.model_spec, lent, spec.signature_name or DEFAULT_SIGNATURE)
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(messages.to_proto(value))
            return response

        return await self._calls.call("predict", request.model_spec, context, work)

    async def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: Context
    ) -> classification_pb2.ClassificationResponse:
        """Answer by a signature of method classify."""
        response = classification_pb2.ClassificationResponse()
        return await self._on_examples("classify", request, response, self._classify, context)

    async def _classify(self, lent: Lent, spec: Any, source: Any, result: Any) -> None:
        examples = messages.serialized_examples(source)
        outputs = await _outputs(
            self._service.on_examples(lent, spec.signature_name, CLASSIFY, examples)
        )
        for row in classes_of(outputs, len(examples)).rows():
            classes = result.classifications.add()
            for label, score in row:
                classes.classes.add(label=label, score=float(score))

    async def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: Context
    ) -> regression_pb2.RegressionResponse:
        """Answer by a signature of method regress."""
        response = regression_pb2.RegressionResponse()
        return await self._on_examples("regress", request, response, self._regress, context)

    async def _on_examples(
        self, method: str, request: Any, response: Any, answer: Answer, context: Context
    ) -> Any:
        async def work(ref: ModelRef) -> Any:
            spec = request.model_spec
            with self._service.manager.borrow(ref, _place(request.input)) as lent:
                await answer(lent, spec, request.input, response.result)
            messages.fill_spec(response.model_spec, lent, spec.signature_name or DEFAULT_SIGNATURE)
            return response

        return await self._calls.call(method, request.model_spec, context, work)

    async def _regress(self, lent: Lent, spec: Any, source: Any, result: Any) -> None:
        examples = messages.serialized_examples(source)
        outputs = await _outputs(
            self._service.on_examples(lent, spec.signature_name, REGRESS, examples)
        )
        for value in regressions_of(outputs, len(examples)):
            result.regressions.add(value=float(value))

    async def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: Context
    ) -> inference_pb2.MultiInferenceResponse:
        """Answer several classifications and regressions of the same examples."""
        if not request.tasks:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Inference request is empty.")
        first = request.tasks[0].model_spec

        async def work(ref: ModelRef) -> Any:
            if any(task.model_spec.name != first.name for task in request.tasks):
                raise invalid(
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                )
            response = inference_pb2.MultiInferenceResponse()
            with self._service.manager.borrow(ref, _place(request.input)) as lent:
                for task in request.tasks:
                    result = response.results.add()
                    spec = task.model_spec
                    messages.fill_spec(
                        result.model_spec, lent, spec.signature_name or DEFAULT_SIGNATURE
                    )
                    if task.method_name == CLASSIFY:
                        target = result.classification_result
                        await self._classify(lent, spec, request.input, target)
                    elif task.method_name == REGRESS:
                        await self._regress(lent, spec, request.input, result.regression_result)
                    else:
                        raise ServingError(
                            grpc.StatusCode.UNIMPLEMENTED,
                            f"Unsupported signature method_name: {task.method_name}",
                        )
            return response

        return await self._calls.call("multi_inference", first, context, work)

    async def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: Context
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return a version's signatures."""

        async def work(ref: ModelRef) -> Any:
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != messages.SIGNATURE_DEF:
                    raise invalid(f"Metadata field {name} is not supported")
            with self._service.manager.borrow(ref) as lent:
                return messages.metadata_message(lent)

        return await self._calls.call("metadata", request.model_spec, context, work)


class ModelApi(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus, HandleReloadConfigRequest."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        """Keep both."""
        self._service = service
        self._calls = _Calls(service, metrics)

    async def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: Context
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the states of versions."""

        async def work(ref: ModelRef) -> Any:
            return messages.status_message(self._service.manager.status(ref))

        return await self._calls.call("status", request.model_spec, context, work)

    async def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: Context
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serve other models from now on; answer once they are loaded."""
        response = model_management_pb2.ReloadConfigResponse()
        try:
            models = from_message(request.config)
            self._service.manager.check_logs(models)
            self._service.manager.configure(models)
            await asyncio.to_thread(self._service.manager.reconcile)
        except InputError as error:
            response.status.error_code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            response.status.error_message = str(error)
        except ServingError as error:
            response.status.error_code = error.code.value[0]
            response.status.error_message = error.message
        return response


def grpc_server(
    service: Service, metrics: Metrics, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
) -> grpc.aio.Server:
    """Make a server with both services, and the Open Inference Protocol's; no port yet."""
    largest = service.limits.body_bytes
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would each get some of the requests.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionApi(service, metrics), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelApi(service, metrics), server)
    server.add_generic_rpc_handlers(
        (open_inference_handler(service, _Calls(service, metrics).call),)
    )
    return server
