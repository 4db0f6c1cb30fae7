"""Further cases, after TensorFlow Serving's source as it was on 30 July 2026 (9d981c5).

Read from `http_rest_api_util.cc`, `http_rest_api_handler.cc`, `json_tensor.cc`, `http_server.cc`
and `net_http`, with RapidJSON 1.1.0 and Abseil's `Base64Unescape`, which it calls.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from typing import Any, Final

from serving.conformance.cases import Case
from serving.conformance.models import H2, H2_VERSION, LABEL

_MODEL: Final = f"/v1/models/{H2}"
_P: Final = f"{_MODEL}:predict"
_TYPES: Final = "/v1/models/types:predict"
_TEXT: Final = "/v1/models/text:predict"
_TWO: Final = "/v1/models/two:predict"
_ROWS: Final = {"instances": [1.0, 2.0]}
_ANSWER: Final = {"predictions": [2.5, 3.0]}
_OFFSET: Final = "JSON Parse error: {} at offset: {}"


def _is_status(answer: Any) -> bool:
    return [found["version"] for found in answer["model_version_status"]] == [str(H2_VERSION)]


def _paths() -> Iterator[Case]:
    """List paths, and the versions that they mean."""
    yield Case("upper case", "POST", "/V1/MODELS/h2/VERSIONS/0123:predict", _ROWS, answer=_ANSWER)
    yield Case("name by escapes", "POST", "/v1/models/%682:predict", _ROWS, answer=_ANSWER)
    for number, method, path in (
        ("method's case", "POST", f"{_MODEL}:PREDICT"),
        ("query", "POST", f"{_P}?x=1"),
        ("query of metadata", "GET", f"{_MODEL}/metadata?x=1"),
        ("POST of a status", "POST", _MODEL),
        ("GET of a prediction", "GET", f"{_MODEL}/versions/1:predict"),
        ("other method", "POST", f"{_MODEL}:explain"),
        ("slash at the end", "GET", f"{_MODEL}/"),
        ("nothing", "GET", "/v1/"),
        ("sign", "POST", f"{_MODEL}/versions/-1:predict"),
        ("both", "GET", f"{_MODEL}/versions/1/labels/{LABEL}"),
        ("PUT", "PUT", _P),
        ("DELETE", "DELETE", _MODEL),
        ("PATCH", "PATCH", _P),
    ):
        body = _ROWS if method in ("POST", "PUT", "PATCH") else None
        yield Case(number, method, path, body, 400, error=f"Malformed request: {method} {path}")
    yield Case("HEAD", "HEAD", _MODEL, status=400, is_json=False)
    yield Case("TRACE", "TRACE", _MODEL, status=501, is_json=False)
    said = "Could not find any versions of model h2?x=1"
    yield Case("query of a status", "GET", f"{_MODEL}?x=1", status=404, error=said)
    yield Case("case of metadata", "GET", f"{_MODEL}/METADATA", check=_is_status)
    yield Case("unknown label's status", "GET", f"{_MODEL}/labels/none", check=_is_status)
    said = "Unrecognized servable version label: none"
    yield Case("its metadata", "GET", f"{_MODEL}/labels/none/metadata", status=400, error=said)
    said = "Servable not found for request: Specific(h2, 99)"
    yield Case("metadata", "GET", f"{_MODEL}/versions/99/metadata", status=404, error=said)
    said = f"Failed to convert version: {2**63} to numeric."
    yield Case("huge version", "GET", f"{_MODEL}/versions/{2**63}", status=400, error=said)
    said = "Missing model name in request."
    yield Case("no name", "GET", "/v1/models/versions/123", status=400, error=said)
    yield Case("no name, metadata", "GET", "/v1/models/metadata/metadata", status=404)


def _preflights() -> Iterator[Case]:
    """List what browsers ask before they ask."""
    origin = {"Origin": "https://example.org"}
    yield Case("preflight", "OPTIONS", _P, headers=origin, is_json=False)
    yield Case("no origin", "OPTIONS", _P, status=400, is_json=False)
    yield Case(
        "strange origin", "OPTIONS", _P, status=400, headers={"Origin": "null"}, is_json=False
    )


def _documents() -> Iterator[Case]:
    """List documents, broken ones, and what may stand around them."""
    rows = json.dumps(_ROWS).encode()
    for number, body in (
        ("what follows", rows + b" and more"),
        ("a second document", rows * 2),
        ("byte order mark", b"\xef\xbb\xbf" + rows),
        ("white space", b" \t\r\n" + rows),
        ("depth", b'{"deep":' + b"[" * 20_000 + b"]" * 20_000 + b"," + rows[1:]),
        (
            "depth of objects",
            b'{"deep":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"," + rows[1:],
        ),
        ("further keys", b'{"other": null, "instances": [1, 2]}'),
        ("a name twice", b'{"instances": [1, 2], "instances": "no"}'),
        ("no signature's name", b'{"signature_name": "", "instances": [1, 2]}'),
        ("a name's escapes", b'{"\\u0069nstances": [1, 2]}'),
    ):
        yield Case(number, "POST", _P, body, answer=_ANSWER)
    for body, said, offset in (
        (b"  ", "The document is empty.", 2),
        (b"\0", "The document is empty.", 0),
        (b"{", "Missing a name for object member.", 1),
        (b"{'a': 1}", "Missing a name for object member.", 1),
        (b'{"instances": [1],}', "Missing a name for object member.", 18),
        (b'{"instances" [1]}', "Missing a colon after a name of object member.", 13),
        (b'{"instances": [1]', "Missing a comma or '}' after an object member.", 17),
        (b'{"instances": [1 2]}', "Missing a comma or ']' after an array element.", 17),
        (b'{"instances": [1,]}', "Invalid value.", 17),
        (b'{"instances": [tru]}', "Invalid value.", 18),
        (b'{"instances": ["a]}', "Missing a closing quotation mark in string.", 19),
        (b'{"instances": ["\\x"]}', "Invalid escape character in string.", 16),
        (b'{"instances": ["\n"]}', "Invalid escape character in string.", 16),
        (b'{"instances": ["\\u00g0"]}', "Incorrect hex digit after \\u escape in string.", 16),
        (b'{"instances": ["\\ud800"]}', "The surrogate pair in string is invalid.", 16),
        (b'{"instances": [1.]}', "Miss fraction part in number.", 17),
        (b'{"instances": [1e]}', "Miss exponent in number.", 17),
        (b'{"instances": [1e309]}', "Number too big to be stored in double.", 15),
        (b'{"instances": [+1]}', "Invalid value.", 15),
        (b'{"instances": [01]}', "Missing a comma or ']' after an array element.", 16),
        (b"instances=1", "Invalid value.", 0),
        (b"\x89PNG\r\n\x1a\n", "Invalid value.", 0),
        ('{"instances": [1]}'.encode("utf-16-le"), "Missing a name for object member.", 1),
    ):
        yield Case("no JSON", "POST", _P, body, 400, error=_OFFSET.format(said, offset))
    for body in (b"[1]", b"1", b'"a"', b"null", b"NaN"):
        yield Case("no object", "POST", _P, body, 400, error=" Is not object")


def _encodings() -> Iterator[Case]:
    """List bodies that are packed, and what headers say of them."""
    rows = json.dumps(_ROWS).encode()
    packed = gzip.compress(rows)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    coded = {"Content-Encoding": "gzip"}
    yield Case("any Content-Type", "POST", _P, rows, answer=_ANSWER, headers=form)
    yield Case("gzip", "POST", _P, packed, answer=_ANSWER, headers=coded)
    empty = "JSON Parse error: The document is empty"
    yield Case("half of it", "POST", _P, packed[:-9], 400, error=empty, headers=coded)
    yield Case("no gzip", "POST", _P, rows, 400, error=empty, headers=coded)
    said = _OFFSET.format("Invalid value.", 0)
    yield Case("not told", "POST", _P, packed, 400, error=said)
    other = {"Content-Encoding": "br"}
    yield Case("other encodings", "POST", _P, rows, answer=_ANSWER, headers=other)


def _values() -> Iterator[Case]:
    """List values that become tensors."""
    given: Any
    got: Any
    value: Any
    most, least = 2**63 - 1, -(2**63)
    for type_name, given, got in (
        ("float32", [1, 2.5, -0.0], [1.0, 2.5, -0.0]),
        ("float32", [16777217, 0.1], [16777216.0, 0.1]),
        ("float32", [1e39, -1e39, 1e-50], [math.inf, -math.inf, 0.0]),
        ("float64", [1e39, 2**64, 0.1], [1e39, 18446744073709551616.0, 0.1]),
        ("int8", [127, 128, -129, 256], [127, -128, 127, 0]),
        ("uint8", [255, 256, -1], [255, 0, 255]),
        ("int16", [32768], [-32768]),
        ("int32", [2**31 - 1, -(2**31)], [2**31 - 1, -(2**31)]),
        ("int64", [most, least], [most, least]),
        ("uint32", [2**32 - 1], [2**32 - 1]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("bool", [True, False], [True, False]),
        ("string", ["a", "", "é", "\x00"], ["a", "", "é", "\x00"]),
        ("string", [{"b64": "aGk="}, "b"], ["hi", "b"]),
        ("string", [{"b64": "a Gk\n"}, {"b64": "aGk."}], ["hi", "hi"]),
        ("float32", [[]], [[]]),
        ("int32", [[[1], [2]], [[3], [4]]], [[[1], [2]], [[3], [4]]]),
    ):
        asked = {"signature_name": type_name, "instances": given}
        yield Case(f"{type_name}, rows", "POST", _TYPES, asked, answer={"predictions": got})
        asked = {"signature_name": type_name, "inputs": given}
        yield Case(f"{type_name}, columns", "POST", _TYPES, asked, answer={"outputs": got})
    for type_name, value, got in (
        ("float32", 5, 5.0),
        ("bool", True, True),
        ("string", {"b64": "aGk="}, "hi"),
        ("int64", [], []),
        ("float64", {"x": [1.5]}, [1.5]),
    ):
        asked = {"signature_name": type_name, "inputs": value}
        yield Case(f"{type_name}, whole", "POST", _TYPES, asked, answer={"outputs": got})
    body = b'{"signature_name": "float64", "instances": [NaN, -NaN, Inf, -Infinity]}'
    yield Case("no numbers", "POST", _TYPES, body, check=_is_not_finite)


def _is_not_finite(answer: Any) -> bool:
    first, second, *rest = answer["predictions"]
    return math.isnan(first) and math.isnan(second) and rest == [math.inf, -math.inf]


def _wrong_values() -> Iterator[Case]:
    """List values that don't."""
    value: Any
    for type_name, value, shown in (
        ("int32", 2**31, f"{2**31} Type: Number"),
        ("int32", 1.0, "1.0 Type: Number"),
        ("int32", True, "true Type: True"),
        ("int8", 2**31, f"{2**31} Type: Number"),
        ("int64", 2**63, f"{2**63} Type: Number"),
        ("uint32", -1, "-1 Type: Number"),
        ("uint64", -1, "-1 Type: Number"),
        ("bool", 1, "1 Type: Number"),
        ("bool", "true", '"true" Type: String'),
        ("float", "1", '"1" Type: String'),
        ("float", None, "null Type: Null"),
        ("float", False, "false Type: False"),
        ("string", 1, "1 Type: Number"),
        ("string", None, "null Type: Null"),
        ("double", {"b64": "aGk="}, '{\n    "b64": "aGk="\n} Type: Object'),
    ):
        name = {"float": "float32", "double": "float64"}.get(type_name, type_name)
        said = f"JSON Value: {shown} is not of expected type: {type_name}"
        asked = {"signature_name": name, "inputs": [value]}
        yield Case(f"no {type_name}", "POST", _TYPES, asked, 400, error=said)
        said = f"Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: {said}"
        asked = {"signature_name": name, "instances": [value]}
        yield Case(f"no {type_name}, rows", "POST", _TYPES, asked, 400, error=said)
    for type_name, name in (("half", "float16"), ("uint16", "uint16")):
        said = f"Conversion of JSON Value: 1 to type: {type_name}"
        asked = {"signature_name": name, "inputs": [1]}
        yield Case(f"{type_name} isn't read", "POST", _TYPES, asked, 501, error=said)
    for text in ("aGk==", "a", "aG-_", "data:image/png;base64,aGk=", "aGk=x", "é"):
        asked = {"instances": [{"b64": text}]}
        yield Case("no base64", "POST", _TEXT, asked, 400, error="Unable to base64 decode")
    asked = {"inputs": [{"b64": "aGk=", "c": 1}]}
    said = "not formatted correctly for base64 data"
    yield Case("more than base64", "POST", _TEXT, asked, 400, error=said)
    for value, said in (
        ([[1, 2], [3]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        (
            [[1], 2],
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
    ):
        yield Case("ragged", "POST", _P, {"inputs": value}, 400, error=said)
    for value, said in (
        (
            [[1, 2], [3]],
            "element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size",
        ),
        ([[[1, 2]], [[1], [2]]], "Expecting shape [1,2] but got: [2,1]"),
        ([1, {"x": 2}], "Expecting value/list but got object at item 1 of input list"),
        ([{"x": 1}, 2], "Expecting object but got list at item 1 of input list"),
        (
            [{"z": 1}],
            "element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: "
            "does not have named input: z",
        ),
        ([{}], "JSON object: {} keys must be equal to: x"),
    ):
        yield Case("wrong rows", "POST", _P, {"instances": value}, 400, error=said)


def _requests() -> Iterator[Case]:
    """List bodies by their keys."""
    value: Any
    for value in (1, "a", None, {"x": 1}, True):
        said = "Expecting 'instances' to be an list/array"
        yield Case("no list", "POST", _P, {"instances": value}, 400, error=said)
    said = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    yield Case("both", "POST", _P, {"inputs": None, "instances": [1]}, 400, error=said)
    said = "JSON Value: null Type: Null is not of expected type: float"
    yield Case("no inputs", "POST", _P, {"inputs": None}, 400, error=said)
    said = "not formatted correctly. 'signature_name' key must be a string value."
    asked: Any = {"signature_name": None, "instances": [1]}
    yield Case("no name", "POST", _P, asked, 400, error=said)
    asked = {"inputs": {"a": [1], "b": [2], "c": [3]}}
    answer = {"outputs": {"sum": [3.0], "pairs": [[1.0, 2.0]]}}
    yield Case("further inputs", "POST", _TWO, asked, answer=answer)
    said = "does not have named input: c"
    asked = {"instances": [{"a": 1, "b": 2, "c": 3}]}
    yield Case("further inputs, rows", "POST", _TWO, asked, 400, error=said)
    said = "inputs is a plain value/list, but expecting an object as multiple input tensors"
    yield Case("plain columns", "POST", _TWO, {"inputs": [1]}, 400, error=said)
    yield Case("named row", "POST", _P, {"instances": [{"x": 1}]}, answer={"predictions": [2.5]})
    said = "Servable not found for request: Latest(none)"
    yield Case(
        "JSON first",
        "POST",
        "/v1/models/none:predict",
        b"{",
        400,
        error=_OFFSET.format("Missing a name for object member.", 1),
    )
    yield Case("then the model", "POST", "/v1/models/none:predict", _ROWS, 404, error=said)


def _examples() -> Iterator[Case]:
    """List classifications and regressions."""
    body: Any
    classify, regress = f"{_MODEL}:classify", f"{_MODEL}:regress"
    name = {"signature_name": "classify_x_to_y"}
    for number, body, answer in (
        ("a list", {"examples": [{"x": [20.0]}]}, [[["", 12.0]]]),
        ("context", {"context": {"x": 20.0}, "examples": [{}]}, [[["", 12.0]]]),
        ("over the context", {"context": {"x": 1.0}, "examples": [{"x": 20.0}]}, [[["", 12.0]]]),
        (
            "further features",
            {"examples": [{"x": 20.0, "y": ["a"], "z": {"b64": "aGk="}}]},
            [[["", 12.0]]],
        ),
        ("beyond float", {"examples": [{"x": 1e39}]}, [[["", math.inf]]]),
    ):
        yield Case(number, "POST", classify, {**name, **body}, answer={"results": answer})
    for body, said in (
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": [1]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        (
            {"examples": [{"x": {"a": 1}}]},
            "Feature: x has element with unexpected JSON type: Object",
        ),
        ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        (
            {"examples": [{"x": [1, 2.5]}]},
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            {"examples": [{"x": [1.5, "a"]}]},
            "Unexpected element type in feature: x expecting type: float",
        ),
        (
            {"examples": [{"x": ["a", 1]}]},
            "Unexpected element type in feature: x expecting type: bytes",
        ),
        (
            {"examples": [{"x": 2**63}]},
            "Feature: x has uint64_t element. Only int64_t is supported.",
        ),
        ({"examples": [{"x": {"b64": "!"}}]}, "Unable to base64 decode"),
    ):
        for path in (classify, regress):
            yield Case("wrong examples", "POST", path, {**name, **body}, 400, error=said)
    asked: Any = {"examples": [{"x": 1.0}]}
    said = "No classification inputs found in SignatureDef"
    yield Case("no classification", "POST", classify, asked, 400, error=said)
    said = "No regression inputs found in SignatureDef"
    yield Case("no regression", "POST", regress, asked, 400, error=said)
    said = "No signature was found with the name: zz"
    yield Case("no signature", "POST", classify, {"signature_name": "zz", **asked}, 400, error=said)


SOURCE_CASES: Final = (
    *_paths(),
    *_preflights(),
    *_documents(),
    *_encodings(),
    *_values(),
    *_wrong_values(),
    *_requests(),
    *_examples(),
)
