"""JSON as RapidJSON reads and prints it, which TensorFlow Serving uses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from serving.protocol import rapid_json
from serving.protocol.rapid_json import as_object, members
from serving.protocol.rapid_number import (
    SURE_DIGITS,
    JsonSyntaxError,
    number_of,
    plain_decimal,
)
from serving.protocol.status import invalid

# How the message begins of a body that is no JSON.
PARSE_ERROR: Final = "JSON Parse error: "
# TensorFlow Serving stops repeating a value that is at fault behind so many bytes ...
_SHOWN_BYTES: Final = 256
# ... but never within a string; here, at so many characters of one.
_SHOWN_CHARACTERS: Final = 2000
_INDENT: Final = "    "
# A control character, as both printers write it; RapidJSON's has capital digits.
_CONTROL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u00[01][0-9a-f]")
_SPACES: Final = " \t\r\n"
# Half of a surrogate pair, maybe: the one thing that Python's parser reads otherwise.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# With at most so many characters, point included, a decimal is what RapidJSON makes of it, too.
_SURE_CHARACTERS: Final = 16
# So many digits, and a point, nearly all decimals have; they are computed in a shorter way.
_PLAIN_CHARACTERS: Final = 24
_LONGEST_INTEGER: Final = 18
_NUMBER: Final = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]\+?(-?[0-9]+))?")
# What RapidJSON's printer writes otherwise than in exponents.
_PLAIN_DIGITS: Final = 21
_PLAIN_ZEROS: Final = -6


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a request's body, as far as its first value goes.

    NaN and the infinities are numbers. Of a name that an object has twice, the first counts.

    Raises:
        ServingError: it is no JSON, or no object.
    """
    if not body:
        raise invalid(f"{PARSE_ERROR}The document is empty")
    try:
        value = _read(body)
    except JsonSyntaxError as error:
        raise invalid(f"{PARSE_ERROR}{error}") from error
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def _read(body: bytes) -> Any:
    text = body[rapid_json.after_mark(body) :].decode("utf-8", errors="surrogateescape")
    begin = len(text) - len(text.lstrip(_SPACES))
    # Where the root is a number, what follows it may be a part of it that Python passes over.
    if text.startswith("{", begin) and _SURROGATE.search(text) is None:
        try:
            return _DECODER.raw_decode(text, begin)[0]
        except (JsonSyntaxError, json.JSONDecodeError, RecursionError):
            pass
    return rapid_json.read(body)


def _decimal(text: str) -> float:
    if "e" not in text and "E" not in text:
        if len(text) <= _SURE_CHARACTERS:
            return float(text)
        if len(text) <= _PLAIN_CHARACTERS and text.index(".") <= SURE_DIGITS:
            return -plain_decimal(text[1:]) if text.startswith("-") else plain_decimal(text)
    return float(_number(text))


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_INTEGER else _number(text)


def _number(text: str) -> int | float:
    match = _NUMBER.fullmatch(text.encode())
    assert match is not None
    minus, whole, fraction, exponent = match.groups()
    # The offset isn't known here; if there is an error, the slower reader finds it.
    return number_of(bool(minus), whole, fraction, exponent, 0)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=as_object, parse_float=_decimal, parse_int=_integer
)


def shown(value: Any) -> str:
    """Show a value as an error does: arrays on one line, objects on several, cut short."""
    printer = _Printer()
    # Containers that are open: what is left of each, and what closes it.
    left: list[tuple[Iterator[Any], bool]] = [(iter((value,)), False)]
    while left and printer.has_room():
        rest, is_object = left[-1]
        element = next(rest, _END)
        if element is _END:
            left.pop()
            if left:
                printer.close(is_object)
            continue
        if is_object:
            name, element = element
            printer.string(name)
            if not printer.has_room():
                break
        if isinstance(element, list | dict):
            printer.open(isinstance(element, dict))
            content = iter(members(element)) if isinstance(element, dict) else iter(element)
            left.append((content, isinstance(element, dict)))
        elif not printer.scalar(element):
            break
    return printer.text()


_END: Final[Any] = object()


class _Printer:
    """RapidJSON's PrettyWriter, with arrays on one line, into a buffer that has a limit."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        # For each open container, whether it is an object, and the values in it, names included.
        self._levels: list[list[int]] = []

    def has_room(self) -> bool:
        return self._size < _SHOWN_BYTES

    def text(self) -> str:
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._size += len(text.encode("utf-8", errors="surrogateescape"))

    def _separate(self) -> None:
        if not self._levels:
            return
        is_object, count = self._levels[-1]
        self._levels[-1][1] += 1
        if not is_object:
            self._put(", " if count else "")
        elif count % 2:
            self._put(": ")
        else:
            self._put((",\n" if count else "\n") + _INDENT * len(self._levels))

    def open(self, is_object: bool) -> None:
        self._separate()
        self._levels.append([is_object, 0])
        self._put("{" if is_object else "[")

    def close(self, is_object: bool) -> None:
        _, count = self._levels.pop()
        if is_object and count:
            self._put("\n" + _INDENT * len(self._levels))
        self._put("}" if is_object else "]")

    def string(self, value: str) -> None:
        self._separate()
        cut = len(value) > _SHOWN_CHARACTERS
        quoted = json.dumps(value[:_SHOWN_CHARACTERS] + "…" * cut, ensure_ascii=False)
        self._put(_CONTROL.sub(lambda found: found.group().upper().replace("U", "u"), quoted))

    def scalar(self, value: Any) -> bool:
        """Print it; return whether RapidJSON would go on."""
        if isinstance(value, str):
            self.string(value)
            return True
        self._separate()
        if isinstance(value, float):
            # It doesn't print these, and stops.
            if not math.isfinite(value):
                return False
            self._put(_printed(value))
        else:
            self._put(json.dumps(value))
        return True


def _printed(value: float) -> str:
    """Write a finite number as RapidJSON's `dtoa`, with as many digits as it takes."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        return f"{sign}0.0"
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _PLAIN_DIGITS:
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    if 0 < point <= _PLAIN_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _PLAIN_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1}"


def kind(value: Any) -> str:
    """Return RapidJSON's name for a value's type."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    names = {list: "Array", str: "String", type(None): "Null"}
    return names.get(type(value), "Number")
