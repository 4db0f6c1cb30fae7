"""The doors of REST, as an ASGI application around another."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.doors.audit import REQUEST_ID, Entry, request_id
from serving.doors.keeper import NOBODY, Keeper
from serving.protocol.responses import error_json
from serving.protocol.status import ServingError

LOGGER: Final = logging.getLogger("cxr.serving")
# Whoever watches the process asks without a token, and learns nothing of any model.
OPEN: Final = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
# Where in a scope's state the connection keeps the subject of its client's certificate, and the
# application what it knows of the request (Facts).
CERTIFICATE: Final = "client_certificate"
FACTS: Final = "request_facts"
_JSON: Final = "application/json"
_ID_HEADER: Final = REQUEST_ID.lower().encode()


@dataclass
class Facts:
    """The facts of a request, for its log line, metrics and audit.

    Attributes:
        model: that was asked for; empty where none was.
        known: whether there is one of that name.
        version: that answered.
        method: such as `predict`.
        rows: of the request.
        code: canonical, such as `OK`.
        id: of the request.
        who: asked.
    """

    model: str = ""
    known: bool = False
    version: int | None = None
    method: str = "unknown"
    rows: int = 0
    code: str = "OK"
    id: str = ""
    who: str = NOBODY


@dataclass
class _Seen:
    """The digests and the status of what passes the doors."""

    request: Any = field(default_factory=hashlib.sha256)
    was_read: bool = False
    answer: Any = field(default_factory=hashlib.sha256)
    status: int = 0


def guarded(app: ASGIApp, keeper: Keeper) -> ASGIApp:
    """Put doors in front of an application.

    Args:
        app: that answers who comes in.
        keeper: that decides.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        request = Request(scope)
        facts = Facts(id=request_id(request.headers.get(REQUEST_ID)))
        scope.setdefault("state", {})[FACTS] = facts
        seen = _Seen()
        read, answer = _watched(receive, send, seen, facts.id, digests=keeper.audit is not None)
        client = str((scope.get("client") or (NOBODY,))[0])
        try:
            # A browser asks whether it may ask without saying who it is.
            if scope["path"] not in OPEN and scope["method"] != "OPTIONS":
                certificate = scope["state"].get(CERTIFICATE)
                facts.who = keeper.who(request.headers.get("authorization", ""), certificate)
            with keeper.counted(client if facts.who == NOBODY else facts.who):
                await app(scope, read, answer)
        except ServingError as error:
            facts.code = error.code.name
            LOGGER.info("refused %s %s id=%s", client, facts.code, facts.id)
            await _refusal(error)(scope, receive, answer)
        if keeper.audit is not None and scope["path"] not in OPEN:
            keeper.audit.write(_entry(facts, seen, client, time.monotonic() - began))

    return call


def _watched(
    receive: Receive, send: Send, seen: _Seen, identifier: str, *, digests: bool
) -> tuple[Receive, Send]:
    async def read() -> Message:
        message = await receive()
        if digests and message["type"] == "http.request":
            seen.was_read = True
            seen.request.update(message.get("body", b""))
        return message

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            headers = [*message.get("headers", ()), (_ID_HEADER, identifier.encode())]
            message = {**message, "headers": headers}
        elif digests:
            seen.answer.update(message.get("body", b""))
        await send(message)

    return read, answer


def _refusal(error: ServingError) -> Response:
    response = Response(error_json(error.message), error.http_status, media_type=_JSON)
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    else:
        response.headers["Retry-After"] = "1"
    # The body may not have been read.
    response.headers["Connection"] = "close"
    return response


def _entry(facts: Facts, seen: _Seen, client: str, seconds: float) -> Entry:
    return Entry(
        id=facts.id,
        who=facts.who,
        client=client,
        api="rest",
        asked=facts.method,
        model=facts.model if facts.known else "",
        version=facts.version,
        status=str(seen.status),
        request_sha256=seen.request.hexdigest() if seen.was_read else None,
        answer_sha256=seen.answer.hexdigest() if seen.status else None,
        seconds=seconds,
    )
