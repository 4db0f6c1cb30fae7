"""The REST API, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import anyio.to_thread
from grpc import StatusCode
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.core.manager import Lent
from serving.core.rollout import place_of, place_of_examples
from serving.core.service import Service, classes_of, regressions_of
from serving.doors.rest import FACTS, Facts
from serving.open_inference import paths as open_inference_paths
from serving.open_inference.http_api import facts_answer, infer
from serving.open_inference.http_infer import InferRequest
from serving.protocol.examples_request import parse_examples
from serving.protocol.hints import with_hint
from serving.protocol.json_text import PARSE_ERROR
from serving.protocol.paths import (
    ModelRef,
    PredictionTarget,
    StatusTarget,
    parse_path,
    without_origin,
)
from serving.protocol.predict_request import parse_predict
from serving.protocol.responses import classify_json, error_json, predict_json, regress_json
from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors
from serving.servables.servable import CLASSIFY, REGRESS
from serving.server import messages
from serving.server.bodies import Bodies, HttpError
from serving.server.metrics import Metrics
from serving.settings import METRICS_PATH, RENDERING_PATH

T = TypeVar("T")
LOGGER: Final = logging.getLogger("cxr.serving")
_JSON: Final = "application/json"
# From here on, parsing a body would hold up the other connections.
_PARSED_BESIDE: Final = 64 * 1024
_RETRY_AFTER_S: Final = "1"
# Those that TensorFlow Serving's HTTP library hands on.
_METHODS: Final = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH")
_ORIGIN: Final = re.compile("https?://")
_CORS_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class RestApi:
    """TensorFlow Serving's REST API over a service."""

    def __init__(self, service: Service, metrics: Metrics, *, cors: bool = False) -> None:
        """Keep both.

        Args:
            service: what answers.
            metrics: what counts.
            cors: whether pages of other origins may read the answers.
        """
        self._service = service
        self._metrics = metrics
        self._cors = cors
        self._bodies = Bodies(service.limits)

    async def handle(self, request: Request) -> Response:
        """Handle any request below /v1/ or /v2."""
        if request.method == "OPTIONS":
            response = _preflight(request)
        elif request.method not in _METHODS:
            response = _error(501, f"Method Not Implemented: {_printable(request.method)}")
        else:
            response = await self._handle(request)
        if self._cors:
            response.headers.update(_CORS_HEADERS)
        return response

    async def _handle(self, request: Request) -> Response:
        # Who guards the doors wants to know, too.
        handled = request.scope.get("state", {}).get(FACTS) or Facts()
        began = time.monotonic()
        try:
            response = await self._answer(request, handled)
        except ServingError as error:
            handled.code = error.code.name
            response = _error(error.http_status, error.message)
            if error.code == StatusCode.RESOURCE_EXHAUSTED:
                response.headers["Retry-After"] = _RETRY_AFTER_S
        except HttpError as error:
            handled.code = str(error.status)
            response = _error(error.status, error.message)
            response.headers["Connection"] = "close"
        except ClientDisconnect:
            handled.code = StatusCode.CANCELLED.name
            response = _error(499, "The client has gone")
        except Exception:
            LOGGER.exception("%s %s", request.method, _printable(_path(request)))
            handled.code = StatusCode.INTERNAL.name
            response = _error(500, "The server failed; its log says why")
        seconds = time.monotonic() - began
        handled.known = handled.model in self._service.manager.names()
        self._metrics.answered(handled.model, "rest", handled.method, handled.code, seconds)
        LOGGER.info(
            "%s %s %d %s model=%s version=%s rows=%d %.1f ms id=%s",
            request.method,
            _printable(_path(request)),
            response.status_code,
            handled.code,
            _printable(handled.model) or "-",
            handled.version or "-",
            handled.rows,
            1000 * seconds,
            handled.id or "-",
        )
        return response

    async def _answer(self, request: Request, handled: Facts) -> Response:
        if is_open_inference(request):
            return await self._open_inference(request, handled)
        target = parse_path(request.method, _target(request))
        handled.model = target.model.name
        if isinstance(target, StatusTarget):
            handled.method = "metadata" if target.metadata else "status"
            return self._status(target)
        handled.method = target.method
        async with self._bodies.read(request) as body:
            work = self._predict(target, body, handled, request)
            seconds = self._service.limits.request_seconds
            return _json(await _while_connected(request, work, seconds))

    async def _open_inference(self, request: Request, handled: Facts) -> Response:
        path = _path(request)
        target = open_inference_paths.parse_path(request.method, path)
        handled.method = target.what
        if target.model is not None:
            handled.model = target.model.name
        if target.what != "infer" or target.model is None:
            return facts_answer(self._service, target)

        def told(lent: Lent, parsed: InferRequest) -> None:
            handled.version, handled.rows = lent.version, _rows(parsed.inputs)

        async with self._bodies.read(request) as body:
            work = infer(self._service, target.model, body, request, _beside, told)
            return await _while_connected(request, work, self._service.limits.request_seconds)

    def _status(self, target: StatusTarget) -> Response:
        if not target.metadata:
            return _json(messages.status_json(self._service.manager.status(target.model)))
        with self._service.manager.borrow(target.model) as lent:
            return _json(json.dumps(messages.metadata_json(lent), indent=1))

    async def _predict(
        self, target: PredictionTarget, body: bytes, handled: Facts, request: Request
    ) -> str:
        try:
            return await self._predicted(target, body, handled)
        except ServingError as error:
            if not error.message.startswith(PARSE_ERROR):
                raise
            headers = request.headers
            kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
            raise with_hint(error, body, kind, encoding) from error

    async def _predicted(self, target: PredictionTarget, body: bytes, handled: Facts) -> str:
        if target.method != "predict":
            return await self._on_examples(target, body, handled)

        def input_specs(signature_name: str) -> Any:
            with self._service.manager.borrow(target.model) as lent:
                return lent.servable.input_specs(signature_name)

        parsed = await _beside(len(body), parse_predict, body, input_specs)
        handled.rows = _rows(parsed.inputs)
        place = partial(place_of, parsed.inputs)
        with self._service.manager.borrow(target.model, place) as lent:
            handled.version = lent.version
            future = self._service.predict(lent, parsed.signature_name, parsed.inputs)
            outputs = await asyncio.wrap_future(future)
        return predict_json(outputs, parsed.format)

    async def _on_examples(self, target: PredictionTarget, body: bytes, handled: Facts) -> str:
        parsed = await _beside(len(body), parse_examples, body)
        count = handled.rows = len(parsed.examples)
        method = CLASSIFY if target.method == "classify" else REGRESS
        place = partial(place_of_examples, parsed.examples)
        with self._service.manager.borrow(target.model, place) as lent:
            handled.version = lent.version
            outputs = await asyncio.wrap_future(
                self._service.on_examples(lent, parsed.signature_name, method, parsed.examples)
            )
        if method == CLASSIFY:
            return classify_json(classes_of(outputs, count).rows())
        return regress_json(list(regressions_of(outputs, count)))


def is_open_inference(request: Request) -> bool:
    """Return whether a request is of the Open Inference Protocol."""
    path = _path(request)
    return path == "/v2" or path.startswith("/v2/")


async def _while_connected(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await an answer, unless its client hangs up or its time is over."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        done, _ = await asyncio.wait(
            {answer, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if answer in done:
            return answer.result()
        if gone in done:
            raise ClientDisconnect
        raise ServingError(StatusCode.DEADLINE_EXCEEDED, f"No answer after {seconds:g} s")
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _beside(size: int, function: Any, *arguments: Any) -> Any:
    if size < _PARSED_BESIDE:
        return function(*arguments)
    return await anyio.to_thread.run_sync(function, *arguments)


def _rows(inputs: Tensors) -> int:
    return max((len(value) if value.ndim else 1 for value in inputs.values()), default=0)


def _target(request: Request) -> str:
    """Return a request's path and query as they came; TensorFlow Serving reads them together."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope.get("query_string", b"")
    target = bytes(raw) + (b"?" + query if query else b"")
    return without_origin(target.decode("ascii", errors="backslashreplace"))


def _path(request: Request) -> str:
    """Return a request's path alone: a query may say more than a log should."""
    return _target(request).partition("?")[0]


def _preflight(request: Request) -> Response:
    """Answer a browser that asks whether it may ask."""
    allowed = _ORIGIN.search(request.headers.get("origin", ""))
    return Response(status_code=200 if allowed else 400)


def _printable(text: str) -> str:
    """Make text printable: nothing that a client sends breaks a line of the log."""
    return text.encode("unicode_escape").decode()[:200]


def _json(text: str) -> Response:
    return Response(text.encode("utf-8", errors="surrogateescape"), media_type=_JSON)


def _error(status: int, message: str) -> Response:
    return Response(
        error_json(message).encode("utf-8", errors="surrogateescape"), status, media_type=_JSON
    )


def rest_app(
    service: Service,
    metrics: Metrics,
    metrics_path: str | None = METRICS_PATH,
    *,
    cors: bool = False,
) -> ASGIApp:
    """Build the application.

    Args:
        service: what answers.
        metrics: what counts.
        metrics_path: where Prometheus finds them; nowhere where None.
        cors: whether pages of other origins may read the answers.
    """
    api = RestApi(service, metrics, cors=cors)

    def ready() -> Response:
        if service.manager.is_ready():
            return _json('{"status": "ready"}')
        return _error(503, "not every model has a version that answers")

    def rendering(model: str) -> Response:
        try:
            with service.manager.borrow(ModelRef(model)) as lent:
                return _json(json.dumps(lent.servable.rendering.to_json()))
        except ServingError as error:
            return _error(error.http_status, error.message)

    pages: dict[str | None, Callable[[], Response]] = {
        metrics_path: lambda: Response(
            metrics.text(), headers={"Content-Type": Metrics.content_type}
        ),
        "/healthz": lambda: _json('{"status": "ok"}'),
        "/readyz": ready,
    }

    async def answer(request: Request) -> Response:
        path = _path(request)
        # By hand: Starlette's routes mind upper and lower case, and no path with a line break
        # would reach one.
        if path[:4].lower() == "/v1/" or is_open_inference(request):
            return await api.handle(request)
        if request.method in ("GET", "HEAD") and path in pages:
            return pages[path]()
        if request.method in ("GET", "HEAD") and path.startswith(RENDERING_PATH):
            return rendering(path.removeprefix(RENDERING_PATH))
        return _error(404, f"Nothing is served at {_printable(path)}")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)

    return app
