"""The protocol over HTTP, as answers to requests that have been read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from serving.core.manager import Lent
from serving.core.rollout import place_of
from serving.core.service import Service
from serving.open_inference.http_infer import JSON_LENGTH, InferRequest, infer_answer, parse_infer
from serving.open_inference.model_facts import (
    EXTENSIONS,
    NAME,
    facts_of,
    is_model_ready,
    server_version,
)
from serving.open_inference.paths import Target
from serving.open_inference.tensors import check_types
from serving.protocol.paths import ModelRef

_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
# (function, arguments) -> what it returns, off the event loop where that is better.
Beside = Callable[..., Awaitable[Any]]


def facts_answer(service: Service, target: Target) -> Response:
    """Answer whatever needs no model to run.

    Raises:
        ServingError: there is no such model or version.
    """
    if target.model is None:
        if target.what == "server":
            facts = {"name": NAME, "version": server_version(), "extensions": EXTENSIONS}
            return _json(facts)
        is_well = target.what == "live" or service.manager.is_ready()
        return _json({target.what: is_well}, 200 if is_well else 503)
    if target.what == "model":
        return _json(asdict(facts_of(service, target.model)))
    ready = is_model_ready(service, target.model)
    return _json({"name": target.model.name, "ready": ready}, 200 if ready else 503)


async def infer(
    service: Service,
    ref: ModelRef,
    body: bytes,
    request: Request,
    beside: Beside,
    told: Callable[[Lent, InferRequest], None],
) -> Response:
    """Answer an inference.

    Args:
        service: that answers.
        ref: which model.
        body: of the request.
        request: for its headers.
        beside: runs what may take its time.
        told: is told which version answers what.

    Raises:
        ServingError: it isn't formatted as the protocol demands, or can't be answered.
    """
    parsed = await beside(len(body), parse_infer, body, request.headers.get(JSON_LENGTH))
    with service.manager.borrow(ref, partial(place_of, parsed.inputs)) as lent:
        told(lent, parsed)
        check_types(parsed.heads, lent.servable.signature(parsed.signature_name).inputs)
        future = service.predict(lent, parsed.signature_name, parsed.inputs, list(parsed.outputs))
        outputs = await asyncio.wrap_future(future)
    answer, json_length = infer_answer(parsed, ref.name, lent.version, outputs)
    if json_length is None:
        return Response(answer, media_type=_JSON)
    headers = {JSON_LENGTH: str(json_length)}
    return Response(answer, media_type=_BINARY, headers=headers)


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type=_JSON)
