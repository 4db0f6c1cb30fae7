"""Bodies as RapidJSON 1.1.0 reads them, with the three flags that TensorFlow Serving sets.

What is expected is what that library said: it was compiled and asked, for each of these bodies.
"""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import rapid_json
from serving.protocol.json_text import parse_object, shown
from serving.protocol.predict_request import parse_predict
from serving.protocol.rapid_json import RepeatedMembers
from serving.protocol.rapid_number import JsonSyntaxError, number_of, plain_decimal
from serving.protocol.status import ServingError
from serving.protocol.tensors import TensorSpec

ERRORS = [
    (b" \n", "The document is empty. at offset: 2"),
    (b"\x00", "The document is empty. at offset: 0"),
    (b"\xef\xbb\xbf", "The document is empty. at offset: 3"),
    (b"{", "Missing a name for object member. at offset: 1"),
    (b"{ ", "Missing a name for object member. at offset: 2"),
    (b"[", "Invalid value. at offset: 1"),
    (b"[1", "Missing a comma or ']' after an array element. at offset: 2"),
    (b"[1,", "Invalid value. at offset: 3"),
    (b"{1}", "Missing a name for object member. at offset: 1"),
    (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b'{"a":', "Invalid value. at offset: 5"),
    (b'{"a":}', "Invalid value. at offset: 5"),
    (b'{"a":1', "Missing a comma or '}' after an object member. at offset: 6"),
    (b'{"a":1 "b"}', "Missing a comma or '}' after an object member. at offset: 7"),
    (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
    (b'{"a":1,,}', "Missing a name for object member. at offset: 7"),
    (b'{"a":[1 2]}', "Missing a comma or ']' after an array element. at offset: 8"),
    (b'{"a":[1,]}', "Invalid value. at offset: 8"),
    (b'{"a":[,1]}', "Invalid value. at offset: 6"),
    (b'{"a":[}', "Invalid value. at offset: 6"),
    (b'{"a":{]}', "Missing a name for object member. at offset: 6"),
    (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 7"),
    (b'{"a":"\\', "Invalid escape character in string. at offset: 6"),
    (b'{"a":"\\q"}', "Invalid escape character in string. at offset: 6"),
    (b'{"a":"\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
    (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
    (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 6"),
    (b'{"a":"\\ud800\\n"}', "The surrogate pair in string is invalid. at offset: 6"),
    (b'{"a":"tab\there"}', "Invalid escape character in string. at offset: 9"),
    (b'{"a":"\x00"}', "Missing a closing quotation mark in string. at offset: 6"),
    (b'{"a":tru}', "Invalid value. at offset: 8"),
    (b'{"a":nul', "Invalid value. at offset: 8"),
    (b'{"a":falsy}', "Invalid value. at offset: 9"),
    (b"{'a':1}", "Missing a name for object member. at offset: 1"),
    (b"{\"a\":'b'}", "Invalid value. at offset: 5"),
    (b'{"a":+1}', "Invalid value. at offset: 5"),
    (b'{"a":.5}', "Invalid value. at offset: 5"),
    (b'{"a":-}', "Invalid value. at offset: 6"),
    (b'{"a":-x}', "Invalid value. at offset: 6"),
    (b'{"a":01}', "Missing a comma or '}' after an object member. at offset: 6"),
    (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
    (b'{"a":1.e5}', "Miss fraction part in number. at offset: 7"),
    (b'{"a":1e}', "Miss exponent in number. at offset: 7"),
    (b'{"a":1e+}', "Miss exponent in number. at offset: 8"),
    (b'{"a":1e309}', "Number too big to be stored in double. at offset: 5"),
    (b'{"a":-1e400}', "Number too big to be stored in double. at offset: 5"),
    (b'{"a":0e400}', "Number too big to be stored in double. at offset: 5"),
    (b'{"a":[1, 2, ' + b"9" * 320 + b"]}", "Number too big to be stored in double. at offset: 12"),
    (b'{"a":Nan}', "Invalid value. at offset: 7"),
    (b'{"a":Infinit}', "Invalid value. at offset: 12"),
    (b'{"a":inf}', "Invalid value. at offset: 5"),
    (b'{"a":undefined}', "Invalid value. at offset: 5"),
    (b'{"a":0x10}', "Missing a comma or '}' after an object member. at offset: 6"),
    (b'{"a":1_000}', "Missing a comma or '}' after an object member. at offset: 6"),
    (b'{"a":1 // c\n}', "Missing a comma or '}' after an object member. at offset: 7"),
    (b"/* c */ {}", "Invalid value. at offset: 0"),
    (b'\xff\xfe{\x00"\x00', "Invalid value. at offset: 0"),
    (b'{\x00"\x00a\x00', "Missing a name for object member. at offset: 1"),
    (b'\x00{\x00"', "The document is empty. at offset: 0"),
    (b"\x89PNG\r\n\x1a\n", "Invalid value. at offset: 0"),
    (b"\x1f\x8b\x08", "Invalid value. at offset: 0"),
    (b"instances=1", "Invalid value. at offset: 0"),
    (b'data={"instances": [1]}', "Invalid value. at offset: 0"),
    (b"--boundary\r\n", "Invalid value. at offset: 1"),
    (b"<xml/>", "Invalid value. at offset: 0"),
    (b"hello", "Invalid value. at offset: 0"),
    (b"}", "The document is empty. at offset: 0"),
    (b",", "The document is empty. at offset: 0"),
    (b'{"a":1]', "Missing a comma or '}' after an object member. at offset: 6"),
    (b'{"\xc3\xa9":\xc3\xbc}', "Invalid value. at offset: 6"),
]

VALUES = [
    (b"0", 0),
    (b"-0", 0),
    (b"-0.0", -0.0),
    (b"4294967296", 4294967296),
    (b"-2147483649", -2147483649),
    (b"9223372036854775807", 9223372036854775807),
    (b"-9223372036854775808", -9223372036854775808),
    (b"-9223372036854775809", -9.223372036854776e18),
    (b"18446744073709551615", 18446744073709551615),
    (b"18446744073709551616", 1.8446744073709552e19),
    (b"1.0", 1.0),
    (b"1e0", 1.0),
    (b"1E+2", 100.0),
    (b"100e-2", 1.0),
    (b"1e39", 1e39),
    (b"1e308", 1e308),
    (b"9e308", math.inf),
    (b"-9e308", -math.inf),
    (b"1e-400", 0.0),
    (b"4.9e-324", 5e-324),
    (b"0.1", 0.1),
    (b"0.30000000000000004", 0.30000000000000004),
    (b"123456789.123456789123456789", 123456789.1234568),
    (b"1.7976931348623157e308", 1.7976931348623157e308),
    (b"2.2250738585072014e-308", 2.2250738585072014e-308),
    (b"NaN", math.nan),
    (b"-NaN", math.nan),
    (b"Inf", math.inf),
    (b"-Inf", -math.inf),
    (b"Infinity", math.inf),
    (b"-Infinity", -math.inf),
    (b'"\\u0041\\u00e9\\ud83d\\ude00"', "A\xe9\U0001f600"),
    (b'"\\u0000"', "\x00"),
    (b'"\xc3\xa9"', "\xe9"),
    (b'"\xff"', "\udcff"),
    (b'"\\udc00"', "\udced\udcb0\udc80"),
    (b'"\\/\\b\\f\\n\\r\\t\\"\\\\"', '/\x08\x0c\n\r\t"\\'),
    (b'"\x7f"', "\x7f"),
]


@pytest.mark.parametrize(("body", "said"), ERRORS)
def test_an_error_has_rapidjsons_words_and_its_offset(body: bytes, said: str) -> None:
    with pytest.raises(ServingError) as refused:
        parse_object(body)
    assert refused.value.message == f"JSON Parse error: {said}"
    assert refused.value.http_status == 400


def test_no_byte_at_all_has_no_offset() -> None:
    with pytest.raises(ServingError) as refused:
        parse_object(b"")
    assert refused.value.message == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_numbers_and_strings_become_rapidjsons(text: bytes, value: Any) -> None:
    read = parse_object(b'{"a": ' + text + b"}")["a"]
    assert type(read) is type(value)
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1} {"b": 2}', {"a": 1}),
        (b'{"a": 1}]]]', {"a": 1}),
        (b'{"a": 1}\x00\xff', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'\r\n\t {"a": 1}', {"a": 1}),
    ],
)
def test_what_stands_around_the_document_does_not_count(body: bytes, value: Any) -> None:
    assert parse_object(body) == value


def test_of_a_name_given_twice_the_first_counts() -> None:
    value = parse_object(b'{"a": 1, "b": 2, "a": 3}')
    assert value == {"a": 1, "b": 2}
    assert isinstance(value, RepeatedMembers)
    assert value.pairs == [("a", 1), ("b", 2), ("a", 3)]


def test_a_depth_that_no_stack_bears_is_read_and_costs_no_memory() -> None:
    depth = 100_000
    body = b'{"deep": ' + b"[" * depth + b"]" * depth + b', "a": 1}'
    tracemalloc.start()
    value = parse_object(body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value["a"] == 1
    # A list a bracket would be 60 times the body.
    assert most < 10 * len(body)


@pytest.mark.parametrize("depth", [200, 900, 5000, 20_000])
def test_deep_values_are_errors_like_others(depth: int) -> None:
    specs = {"x": TensorSpec("float")}
    deep = b"[" * depth + b'"no number"' + b"]" * depth
    for body in (b'{"instances": %s}' % deep, b'{"inputs": %s}' % deep):
        with pytest.raises(ServingError) as refused:
            parse_predict(body, lambda _: specs)
        assert refused.value.http_status == 400
    deep = deep.replace(b'"no number"', b"1")
    if depth > 254:
        with pytest.raises(ServingError, match="tensor parsing error: x"):
            parse_predict(b'{"inputs": %s}' % deep, lambda _: specs)
    with pytest.raises(ServingError, match=r"^JSON Value: \[\[\[.*Is not object$"):
        parse_object(deep)


def test_what_is_shown_of_a_value_is_laid_out_and_ends_behind_256_bytes() -> None:
    assert shown({"a": [1, 2.5, True, None], "b": {}, "c": {"d": "é"}}) == (
        '{\n    "a": [1, 2.5, true, null],\n    "b": {},\n    "c": {\n        "d": "é"\n    }\n}'
    )
    assert shown([1e30, 1e21, 1e20, 123456.0, 1e-5, 1e-7, -0.0]) == (
        "[1e30, 1e21, 100000000000000000000.0, 123456.0, 0.00001, 1e-7, -0.0]"
    )
    # RapidJSON's printer knows no NaN: it stops.
    assert shown([1, math.nan, 2]) == "[1, "
    assert shown([1] * 1000) == "[" + ", ".join("1" * 86)
    assert shown("\x1f\\u001f") == '"\\u001F\\\\u001f"'


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\x00é"), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc"), _JSON))
def test_both_readers_agree(value: dict[str, Any]) -> None:
    for body in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        fast, exact = parse_object(body), rapid_json.read(body)
        assert repr(fast) == repr(exact)


@given(
    st.integers(0, 10**15 - 1) | st.integers(0, 9),
    st.text("0123456789", min_size=1, max_size=20),
    st.integers(0, 18),
)
def test_the_short_way_is_the_long_one(whole: int, fraction: str, zeros: int) -> None:
    fraction = "0" * zeros + fraction
    expected = number_of(False, str(whole).encode(), fraction.encode(), None, 0)
    assert repr(plain_decimal(f"{whole}.{fraction}")) == repr(expected)


@given(st.binary(max_size=60) | st.text('{}[],:"\\u0e.-INanf1d8 ', max_size=30).map(str.encode))
def test_each_body_is_read_or_refused_at_an_offset_within_it(body: bytes) -> None:
    try:
        rapid_json.read(body)
    except JsonSyntaxError as error:
        assert 0 <= error.offset <= len(body)
        assert str(error).endswith(f" at offset: {error.offset}")
    try:
        parse_object(body)
    except ServingError as error:
        assert error.http_status == 400
