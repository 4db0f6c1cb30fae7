"""The errors of calls to the API server, each as one sentence that says what to do."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pipeline.kubeflow.access import TOKEN_VARIABLE, Access

_LONGEST: Final = 500
_WORDS: Final = ("error_message", "message", "error")
# 429: too many requests; 408: the server gave up waiting. Both pass, as 5xx do.
_PASSING: Final = (408, 429)
# Where the function is and, below it, its file: frames of Go's stack traces.
_TRACE: Final = re.compile(r"(\n\S+\n\t\S+:\d+)+")


class ApiError(RuntimeError):
    """A call to the API server failed.

    Attributes:
        status: the HTTP status; None where there was no answer.
        passing: whether the same call may well succeed in a while.
    """

    def __init__(self, message: str, *, status: int | None, passing: bool) -> None:
        """Keep what is known.

        Args:
            message: a sentence, without the token.
            status: the HTTP status, if any.
            passing: whether to try again makes sense.
        """
        super().__init__(message)
        self.status = status
        self.passing = passing


def answered(
    what: str, status: int | None, reason: str | None, body: Any, access: Access
) -> ApiError:
    """Make the error of a call that the server answered with an error.

    Args:
        what: the call, after "Could not".
        status: HTTP status; 0 and None mean that TLS failed.
        reason: the status line's words.
        body: the answer's text, if any.
        access: which server and token.
    """
    said = _message(body) or (reason or "").strip() or "no message"
    text = f"Could not {what}: {_sentence(status or 0, said, access)}"
    passing = bool(status) and (status in _PASSING or (status or 0) >= 500)
    return ApiError(access.hidden_in(text), status=status or None, passing=passing)


def not_reached(what: str, error: Exception, access: Access) -> ApiError:
    """Make the error of a call without an answer, or with half of one.

    Args:
        what: the call, after "Could not".
        error: urllib3's, mostly; its text is shortened.
        access: which server and token.
    """
    # urllib3's own "max retries exceeded" hides what happened.
    cause: Any = getattr(error, "reason", None) or error
    text = str(cause).rstrip(".").rpartition(">: ")[2]
    if "CERTIFICATE_VERIFY_FAILED" in text:
        advice = "Give the CA that signed the server's certificate with --ca-cert FILE."
    elif "no JSON" in text:
        advice = "Is the endpoint the API's address, or has a sign-in page answered?"
    else:
        advice = "Check the endpoint and that the server is up."
    message = f"Could not {what}: {access.endpoint} gave no answer: {text}. {advice}"
    passing = "CERTIFICATE_VERIFY_FAILED" not in text
    return ApiError(access.hidden_in(message), status=None, passing=passing)


def _sentence(status: int, said: str, access: Access) -> str:
    said = said.rstrip(".")
    if status == 401:
        if access.token is None:
            return f"the API server wants a token (401). Set {TOKEN_VARIABLE} or give --token-file."
        return (
            f"the API server does not accept the token from {access.token.source} (401); it may "
            "have expired. Put a fresh one there."
        )
    if status == 403:
        return (
            f"the API server does not allow it (403): {said}. Ask for the rights to it, or give "
            "another --namespace."
        )
    if status == 404:
        return f"not found (404): {said}. Check --endpoint; it must serve /apis/v2beta1."
    if status == 409:
        return (
            f"there is one of that name already (409): {said}. If this account doesn't see it, "
            "give another name."
        )
    if 300 <= status < 400:
        return (
            f"the server sends elsewhere ({status}), perhaps to a sign-in page. Give the API's own "
            "address (https?), and a token where one is wanted."
        )
    if not status:
        return f"no secure connection: {said}. Check --endpoint and --ca-cert."
    return f"the API server answered {status}: {said}."


def _message(body: Any) -> str:
    """Return the server's own words, in one line."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        # Uploads have the first, and in `error_details` a stack trace; other calls the second.
        text = next((str(fields[n]) for n in _WORDS if fields.get(n)), "")
        text = _cause(fields.get("details"), text)
    text = one_line(_TRACE.sub("", text))
    if len(text) > _LONGEST:
        # What happened stands at the end, what was to be done at the beginning.
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
    return text


def _cause(details: Any, text: str) -> str:
    """Return the cause that ends the text, if the answer names it alone, too; else the text."""
    first = details[0] if isinstance(details, list) and details else None
    cause = first.get("message") if isinstance(first, dict) else None
    return cause if isinstance(cause, str) and cause and text.endswith(cause) else text


def one_line(text: str) -> str:
    """Return the text in one line, without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
