"""The doors of gRPC, as an interceptor in front of each method."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import grpc
import grpc.aio

from serving.doors.audit import REQUEST_ID, Entry, request_id
from serving.doors.keeper import NOBODY, Keeper
from serving.protocol.status import ServingError

_OPEN: Final = (
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
_ID: Final = REQUEST_ID.lower()
Names = Callable[[], list[str]]


class GrpcDoors(grpc.aio.ServerInterceptor):
    """Asks who it is, counts, and writes the audit."""

    def __init__(self, keeper: Keeper, names: Names) -> None:
        """Keep both.

        Args:
            keeper: that decides.
            names: lists the models that there are.
        """
        self._keeper = keeper
        self._names = names

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap a method."""
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or handler.unary_unary is None or method in _OPEN:
            return handler

        async def answer(raw: bytes, context: Any) -> bytes:
            return await self._guarded(handler, method, raw, context)

        # Bytes in and out: what is hashed is what the client sent and gets.
        return grpc.unary_unary_rpc_method_handler(answer)

    async def _guarded(self, handler: Any, method: str, raw: bytes, context: Any) -> bytes:
        began = time.monotonic()
        sent = {str(key).lower(): value for key, value in context.invocation_metadata() or ()}
        identifier = request_id(_text(sent.get(_ID)))
        client = _address(context.peer())
        found = _Found(method.rpartition("/")[2])
        # An answer's metadata go before it, whatever it is.
        await context.send_initial_metadata(((_ID, identifier),))
        try:
            found.who = self._keeper.who(
                _text(sent.get("authorization")) or "", _certificate(context)
            )
            with self._keeper.counted(client if found.who == NOBODY else found.who):
                found.answer = await _answered(handler, raw, context, found)
            return found.answer
        except ServingError as error:
            found.code = error.code.name
            await context.abort(error.code, error.message)
            raise
        finally:
            if self._keeper.audit is not None:
                seconds = time.monotonic() - began
                self._keeper.audit.write(self._entry(found, identifier, client, raw, seconds))

    def _entry(
        self, found: _Found, identifier: str, client: str, raw: bytes, seconds: float
    ) -> Entry:
        answer = found.answer
        return Entry(
            id=identifier,
            who=found.who,
            client=client,
            api="grpc",
            asked=found.asked,
            model=found.model if found.model in self._names() else "",
            version=found.version,
            status=found.code,
            request_sha256=hashlib.sha256(raw).hexdigest(),
            answer_sha256=None if answer is None else hashlib.sha256(answer).hexdigest(),
            seconds=seconds,
        )


class _Found:
    """The facts of a call, as far as they are known."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.who = NOBODY
        self.model = ""
        self.version: int | None = None
        self.code = grpc.StatusCode.OK.name
        self.answer: bytes | None = None


async def _answered(handler: Any, raw: bytes, context: Any, found: _Found) -> bytes:
    try:
        request = handler.request_deserializer(raw)
    except Exception as error:
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, "The message can't be parsed"
        ) from error
    found.model = _model(request)
    found.code = grpc.StatusCode.UNKNOWN.name
    try:
        response = await handler.unary_unary(request, context)
    finally:
        code = context.code()
        if code:
            found.code = getattr(code, "name", None) or _name(code)
    found.code = grpc.StatusCode.OK.name
    found.version = _version(response)
    return bytes(handler.response_serializer(response))


def _name(code: int) -> str:
    return next((known.name for known in grpc.StatusCode if known.value[0] == code), str(code))


def _model(request: Any) -> str:
    if hasattr(request, "model_spec"):
        return str(request.model_spec.name)
    return str(getattr(request, "model_name", "") or getattr(request, "name", ""))


def _version(response: Any) -> int | None:
    if hasattr(response, "model_spec"):
        return int(response.model_spec.version.value)
    text = str(getattr(response, "model_version", ""))
    return int(text) if text.isdecimal() else None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if value is None else str(value)


def _certificate(context: Any) -> str | None:
    names = (context.auth_context() or {}).get("x509_common_name") or ()
    return next((_text(name) for name in names), None)


def _address(peer: str) -> str:
    """Return an address out of `ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000`."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]") or NOBODY
