"""Errors as TensorFlow Serving words and numbers them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import grpc
from grpc import StatusCode

# Google's mapping of canonical codes, which TensorFlow Serving's HTTP server follows.
_HTTP: Final = {
    StatusCode.OK: HTTPStatus.OK,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    StatusCode.ABORTED: HTTPStatus.CONFLICT,
    StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


class ServingError(Exception):
    """The error with which a request is refused.

    Attributes:
        code: canonical code, as in gRPC.
        message: for the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Keep code and words."""
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The status that an HTTP client sees."""
        return int(_HTTP[self.code])


def invalid(message: str) -> ServingError:
    """Make the error for a client's mistake."""
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """Make the error for a model or version that isn't there."""
    return ServingError(StatusCode.NOT_FOUND, message)
