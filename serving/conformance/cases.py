"""The cases: a request each, and what TensorFlow Serving answers.

Numbered after the table of its contract that they come from (routes, errors and JSON of its
`api_rest.md`, `http_rest_api_handler` and `json_tensor`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from serving.conformance.models import H2, H2_VERSION, LABEL

_P: Final = f"/v1/models/{H2}:predict"
_TWO: Final = "/v1/models/two:predict"
_TEXT: Final = "/v1/models/text:predict"
_TIMEOUT_S: Final = 30
_SHOWN_BYTES: Final = 200


@dataclass(frozen=True)
class Case:
    """A request and its answer.

    Attributes:
        number: in the table, with a letter where there are several.
        method: of HTTP.
        path: below the server's address.
        body: of the request; an object is sent as JSON.
        status: that is expected.
        answer: JSON that is expected; not looked at where None.
        error: a part of the error message; not looked at where None.
        check: of the JSON, beyond `answer`.
        headers: of the request.
        is_json: whether the answer is; else nothing but its status is looked at.
    """

    number: str
    method: str
    path: str
    body: Any = None
    status: int = 200
    answer: Any = None
    error: str | None = None
    check: Callable[[Any], bool] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_json: bool = True

    @property
    def request(self) -> str:
        """The request in short."""
        body = b"" if self.body is None else _body(self.body)
        shown = body[:_SHOWN_BYTES].decode(errors="backslashreplace")
        return f"{self.method} {self.path} {shown}".rstrip()

    @property
    def expected(self) -> str:
        """The expected answer in short."""
        if self.error is not None:
            return f"{self.status} …{self.error}…"
        return f"{self.status} {'' if self.answer is None else json.dumps(self.answer)}".strip()


@dataclass(frozen=True)
class Outcome:
    """The answer of a server to a case.

    Attributes:
        case: that was tried.
        got: status and body, or what went wrong.
        passed: whether it is what is expected.
    """

    case: Case
    got: str
    passed: bool


def _status(state: str = "AVAILABLE") -> Mapping[str, Any]:
    return {
        "model_version_status": [
            {
                "version": str(H2_VERSION),
                "state": state,
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def _is_metadata(answer: Any) -> bool:
    spec = answer["model_spec"]
    definitions = answer["metadata"]["signature_def"]["signature_def"]
    default = definitions["serving_default"]
    sizes = [dim["size"] for dim in default["inputs"]["x"]["tensor_shape"]["dim"]]
    return bool(
        spec == {"name": H2, "signature_name": "", "version": str(H2_VERSION)}
        and set(definitions) == {"serving_default", "regress_x_to_y", "classify_x_to_y"}
        and default["method_name"] == "tensorflow/serving/predict"
        and default["inputs"]["x"]["dtype"] == "DT_FLOAT"
        and sizes == ["-1", "1"]
    )


def _get(number: str, path: str, **expected: Any) -> Case:
    return Case(number, "GET", path, **expected)


def _post(number: str, path: str, body: Any, **expected: Any) -> Case:
    return Case(number, "POST", path, body, **expected)


def _refused(number: str, path: str, body: Any, error: str, status: int = 400) -> Case:
    return Case(number, "POST", path, body, status, error=error)


_ROWS: Final = {"instances": [1.0, 2.0]}
_ANSWER: Final = {"predictions": [2.5, 3.0]}
_HELLO: Final = {"b64": "aGVsbG8="}
_WORLD: Final = {"b64": "d29ybGQ="}

CASES: Final = (
    _get("1", f"/v1/models/{H2}", answer=_status()),
    _get("2a", f"/v1/models/{H2}/versions/{H2_VERSION}", answer=_status()),
    _get("2b", f"/v1/models/{H2}/labels/{LABEL}", answer=_status()),
    _get("2c", "/V1/MODELS/%682", answer=_status()),
    _get("3", "/v1/models/nope", status=404, error="Could not find any versions of model nope"),
    _get(
        "4",
        f"/v1/models/{H2}/versions/99",
        status=404,
        error=f"Could not find version 99 of model {H2}",
    ),
    _get("5", "/v1/models", status=400, error="Missing model name"),
    _get("6", f"/v1/models/{H2}/metadata", check=_is_metadata),
    _get("7a", "/v1/foo", status=400, error="Malformed request: GET /v1/foo"),
    _refused("7b", "/v1/foo", _ROWS, "Malformed request: POST /v1/foo"),
    _get("8", _P, status=400, error=f"Malformed request: GET {_P}"),
    _post("9", _P, _ROWS, answer=_ANSWER),
    _post(
        "10", _P, {"instances": [[1, 2], [3, 4]]}, answer={"predictions": [[2.5, 3.0], [3.5, 4.0]]}
    ),
    _post(
        "11",
        _P,
        {"signature_name": "serving_default", "inputs": [3, 4]},
        answer={"outputs": [3.5, 4.0]},
    ),
    _post("12a", f"/v1/models/{H2}/versions/{H2_VERSION}:predict", _ROWS, answer=_ANSWER),
    _post("12b", f"/v1/models/{H2}/labels/{LABEL}:predict", _ROWS, answer=_ANSWER),
    _refused(
        "13", "/v1/models/foo:predict", _ROWS, "Servable not found for request: Latest(foo)", 404
    ),
    _refused("14", "/v1/models/foo/versions/50:predict", _ROWS, "Specific(foo, 50)", 404),
    _refused(
        "15",
        f"/v1/models/{H2}/labels/none:predict",
        _ROWS,
        "Unrecognized servable version label: none",
    ),
    _refused("16", _P, b"", "JSON Parse error: The document is empty"),
    _refused("17", _P, {"instances": ["x", "y"]}, "not of expected type: float"),
    _refused("18", _P, {"signature_name": 100}, "'signature_name' key must be a string value."),
    _refused(
        "19",
        _P,
        {"signature_name": "zz", "instances": [1]},
        'Serving signature name: "zz" not found in signature def',
    ),
    _refused(
        "20",
        _P,
        {"instances": [1], "inputs": [1]},
        "Not formatted correctly expecting only one of",
    ),
    _refused("21", _P, {}, "Missing 'inputs' or 'instances' key"),
    _refused("22", _P, {"instances": []}, "No values in 'instances' array"),
    _refused("23", _P, {"instances": [[1, 2], [3, 4], [5, 6, 7]]}, "Expecting tensor size"),
    _refused(
        "24",
        _TWO,
        {"instances": [1, 2]},
        "instances is a plain list, but expecting list of objects",
    ),
    _refused("25", _TWO, {"instances": [{"a": 1}]}, "keys must be equal to: a,b"),
    _refused("26", _TWO, {"inputs": {"a": [1]}}, "Missing named input: b in 'inputs' object."),
    _post(
        "27, 29",
        _TEXT,
        {"instances": [_HELLO, _WORLD]},
        answer={
            "predictions": [
                {"same": "hello", "same_bytes": _HELLO},
                {"same": "world", "same_bytes": _WORLD},
            ]
        },
    ),
    _refused("28", _TEXT, {"instances": [{"b64": "!"}]}, "Unable to base64 decode"),
    _post(
        "30a",
        _TWO,
        {"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        answer={
            "predictions": [{"sum": 3.0, "pairs": [1.0, 2.0]}, {"sum": 7.0, "pairs": [3.0, 4.0]}]
        },
    ),
    _post(
        "30b",
        _TWO,
        {"inputs": {"a": [1, 3], "b": [2, 4]}},
        answer={"outputs": {"sum": [3.0, 7.0], "pairs": [[1.0, 2.0], [3.0, 4.0]]}},
    ),
    _post(
        "31",
        f"/v1/models/{H2}:classify",
        {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]},
        answer={"results": [[["", 12.0]]]},
    ),
    _post(
        "32",
        f"/v1/models/{H2}:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]},
        answer={"results": [42.0]},
    ),
)


def _body(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def try_case(case: Case, url: str) -> Outcome:
    """Send a request and check the answer.

    Args:
        case: to try.
        url: of the server, up to the port.
    """
    body = None if case.body is None else _body(case.body)
    try:
        response = requests.request(
            case.method,
            url.rstrip("/") + case.path,
            data=body,
            headers=dict(case.headers),
            timeout=_TIMEOUT_S,
        )
    except requests.RequestException as error:
        return Outcome(case, f"no answer: {error}", passed=False)
    got = f"{response.status_code} {' '.join(response.text.split())}"
    return Outcome(case, got, _is_right(case, response))


def _is_right(case: Case, response: requests.Response) -> bool:
    if response.status_code != case.status:
        return False
    if not case.is_json:
        return True
    if response.headers.get("Content-Type", "").split(";")[0] != "application/json":
        return False
    try:
        answer = response.json()
        if case.error is not None:
            return set(answer) == {"error"} and case.error in answer["error"]
        return (case.answer is None or answer == case.answer) and (
            case.check is None or case.check(answer)
        )
    except (ValueError, KeyError, TypeError):
        return False
