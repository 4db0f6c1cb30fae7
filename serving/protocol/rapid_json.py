"""RapidJSON 1.1.0's reader, as TensorFlow Serving calls it, with its errors and their offsets.

TensorFlow Serving sets three flags: nested values cost no stack (`kParseIterativeFlag`), NaN and
Infinity are numbers (`kParseNanAndInfFlag`), and whatever follows the document is never looked at
(`kParseStopWhenDoneFlag`). Python's own parser is ten times as fast, so `json_text` asks it first,
and comes here with what it doesn't take.
"""

from __future__ import annotations

import re
from typing import Any, Final

from serving.protocol.rapid_number import JsonSyntaxError, number_of

# Deeper values are read and forgotten: no tensor has more than 254 dimensions, and a body of
# brackets alone would take a hundred times its size.
KEPT_DEPTH: Final = 1000

_EMPTY: Final = "The document is empty."
_INVALID_VALUE: Final = "Invalid value."
_NO_NAME: Final = "Missing a name for object member."
_NO_COLON: Final = "Missing a colon after a name of object member."
_NO_COMMA_IN_OBJECT: Final = "Missing a comma or '}' after an object member."
_NO_COMMA_IN_ARRAY: Final = "Missing a comma or ']' after an array element."
_BAD_HEX: Final = "Incorrect hex digit after \\u escape in string."
_BAD_SURROGATE: Final = "The surrogate pair in string is invalid."
_BAD_ESCAPE: Final = "Invalid escape character in string."
_NO_QUOTE: Final = "Missing a closing quotation mark in string."
_NO_FRACTION: Final = "Miss fraction part in number."
_NO_EXPONENT: Final = "Miss exponent in number."

_BOM: Final = b"\xef\xbb\xbf"
_SPACES: Final = re.compile(rb"[ \n\r\t]*")
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{4}")
_ESCAPES: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_WORDS: Final = {b"n"[0]: (b"null", None), b"t"[0]: (b"true", True), b"f"[0]: (b"false", False)}
_DIGITS: Final = re.compile(rb"[0-9]*")
_BACKSLASH, _QUOTE, _LOWER_U = b'\\"u'
_ZERO, _NINE = b"09"


class RepeatedMembers(dict[str, Any]):
    """An object that has a name twice; looked up, the first counts.

    Attributes:
        pairs: all members, in order.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        """Keep all members."""
        super().__init__(reversed(pairs))
        self.pairs = pairs


def members(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """List an object's members as they stand there, names that are there twice included."""
    return value.pairs if isinstance(value, RepeatedMembers) else list(value.items())


def until_nul(name: str) -> str:
    """Cut a member's name at its first NUL, where TensorFlow Serving takes it for a C string."""
    return name.split("\0", 1)[0]


def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedMembers(pairs)


def after_mark(body: bytes) -> int:
    """Return where a body begins behind UTF-8's byte order mark, or parts of one."""
    begin = 0
    for byte in _BOM:
        begin += body[begin : begin + 1] == bytes([byte])
    return begin


def read(body: bytes) -> Any:
    """Read the first value of a body.

    Args:
        body: UTF-8; bytes that are none become surrogates, as `surrogateescape` has it.

    Returns:
        dict, list, str, int, float, bool or None. What is deeper than `KEPT_DEPTH` is left out.

    Raises:
        JsonSyntaxError: it is no JSON.
    """
    return _Reader(body).read()


class _Reader:
    """One body, read from its beginning to the end of its first value."""

    def __init__(self, body: bytes) -> None:
        # RapidJSON takes a NUL for the end.
        self._body = body + b"\0"
        self._at = after_mark(body)
        self._root: list[Any] = []
        # The containers that are open. Beyond the kept depth only their brackets.
        self._open: list[list[Any]] = [self._root]
        self._names: list[str] = []
        self._brackets = bytearray()
        self._just_opened = False

    def read(self) -> Any:
        self._skip_spaces()
        if not self._peek():
            raise self._error(_EMPTY)
        self._value()
        while self._brackets:
            self._skip_spaces()
            if self._just_opened:
                self._just_opened = False
                self._begin(self._brackets[-1])
            elif self._brackets[-1] == b"{"[0]:
                self._go_on_in_object()
            else:
                self._go_on_in_array()
        return self._root[0]

    def _peek(self) -> int:
        return self._body[self._at]

    def _error(self, message: str, offset: int | None = None) -> JsonSyntaxError:
        return JsonSyntaxError(message, self._at if offset is None else offset)

    def _skip_spaces(self) -> None:
        match = _SPACES.match(self._body, self._at)
        assert match is not None
        self._at = match.end()

    def _take(self, byte: bytes) -> bool:
        if self._peek() != byte[0]:
            return False
        self._at += 1
        return True

    def _value(self) -> None:
        """Read a scalar, or the opening bracket of a container."""
        first = self._peek()
        if first in b"[{":
            self._at += 1
            self._brackets.append(first)
            if len(self._brackets) <= KEPT_DEPTH:
                self._open.append([])
            self._just_opened = True
        elif first in b"]},:":
            raise self._error(_EMPTY if not self._brackets else _INVALID_VALUE)
        elif first == _QUOTE:
            self._add(self._string())
        elif first in _WORDS:
            self._add(self._word(*_WORDS[first]))
        else:
            self._add(self._number())

    def _begin(self, bracket: int) -> None:
        """Read what stands right behind an opening bracket, which may be the closing one."""
        if bracket == b"["[0]:
            if self._take(b"]"):
                self._close()
            else:
                self._value_or_error()
        elif self._take(b"}"):
            self._close()
        else:
            self._member()

    def _go_on_in_array(self) -> None:
        if self._take(b"]"):
            self._close()
        elif self._take(b","):
            self._skip_spaces()
            self._value_or_error()
        else:
            raise self._error(_NO_COMMA_IN_ARRAY)

    def _go_on_in_object(self) -> None:
        if self._take(b"}"):
            self._close()
        elif self._take(b","):
            self._skip_spaces()
            self._member()
        else:
            raise self._error(_NO_COMMA_IN_OBJECT)

    def _member(self) -> None:
        if self._peek() != _QUOTE:
            raise self._error(_NO_NAME)
        name = self._string()
        if len(self._brackets) <= KEPT_DEPTH:
            self._names.append(name)
        self._skip_spaces()
        if not self._take(b":"):
            raise self._error(_NO_COLON)
        self._skip_spaces()
        self._value_or_error()

    def _value_or_error(self) -> None:
        if not self._peek():
            raise self._error(_INVALID_VALUE)
        self._value()

    def _add(self, value: Any) -> None:
        """Put a value into the container that is open."""
        if len(self._brackets) > KEPT_DEPTH:
            return
        if self._brackets and self._brackets[-1] == b"{"[0]:
            value = (self._names.pop(), value)
        self._open[-1].append(value)

    def _close(self) -> None:
        bracket = self._brackets.pop()
        if len(self._brackets) >= KEPT_DEPTH:
            return
        content = self._open.pop()
        self._add(as_object(content) if bracket == b"{"[0] else content)

    def _word(self, word: bytes, value: bool | None) -> bool | None:
        for byte in word:
            if self._peek() != byte:
                raise self._error(_INVALID_VALUE)
            self._at += 1
        return value

    def _string(self) -> str:
        self._at += 1
        parts: list[bytes] = []
        while True:
            match = _PLAIN.match(self._body, self._at)
            assert match is not None
            parts.append(match.group())
            self._at = match.end()
            byte = self._peek()
            if byte == _QUOTE:
                self._at += 1
                return b"".join(parts).decode("utf-8", errors="surrogateescape")
            if byte != _BACKSLASH:
                raise self._error(_BAD_ESCAPE if byte else _NO_QUOTE)
            parts.append(self._escaped())

    def _escaped(self) -> bytes:
        begin = self._at
        escape = self._body[begin + 1]
        if escape in _ESCAPES:
            self._at += 2
            return bytes([_ESCAPES[escape]])
        if escape != _LOWER_U:
            raise self._error(_BAD_ESCAPE, begin)
        self._at += 2
        code = self._hex(begin)
        if 0xD800 <= code <= 0xDBFF:
            if not (self._take(b"\\") and self._take(b"u")):
                raise self._error(_BAD_SURROGATE, begin)
            low = self._hex(begin)
            if not 0xDC00 <= low <= 0xDFFF:
                raise self._error(_BAD_SURROGATE, begin)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        # The second half of a pair alone passes, as three bytes.
        return chr(code).encode("utf-8", errors="surrogatepass")

    def _hex(self, begin: int) -> int:
        match = _HEX.match(self._body, self._at)
        if match is None:
            raise self._error(_BAD_HEX, begin)
        self._at = match.end()
        return int(match.group(), 16)

    def _digits(self) -> bytes:
        match = _DIGITS.match(self._body, self._at)
        assert match is not None
        self._at = match.end()
        return match.group()

    def _number(self) -> int | float:
        begin = self._at
        minus = self._take(b"-")
        whole, special = b"0", None
        if _ZERO <= self._peek() <= _NINE:
            whole = b"0" if self._take(b"0") else self._digits()
        elif self._peek() in b"IN":
            special = self._not_finite()
        else:
            raise self._error(_INVALID_VALUE)
        fraction = exponent = None
        if self._take(b"."):
            fraction = self._digits()
            if not fraction:
                # A number too big is told before.
                number_of(minus, whole, None, None, begin)
                raise self._error(_NO_FRACTION)
        if self._peek() in b"eE":
            self._at += 1
            sign = self._body[self._at : self._at + 1]
            self._at += sign in (b"+", b"-")
            digits = self._digits()
            if not digits:
                number_of(minus, whole, fraction, None, begin)
                raise self._error(_NO_EXPONENT)
            exponent = (b"-" if sign == b"-" else b"") + digits
        if special is not None and fraction is None and exponent is None:
            return -special if minus else special
        return number_of(minus, whole, fraction, exponent, begin)

    def _not_finite(self) -> float:
        # As RapidJSON: what was taken for the one word isn't given back for the other.
        if self._take(b"N") and self._take(b"a") and self._take(b"N"):
            return float("nan")
        if self._take(b"I") and self._take(b"n") and self._take(b"f"):
            if self._peek() == b"i"[0]:
                for byte in (b"i", b"n", b"i", b"t", b"y"):
                    if not self._take(byte):
                        raise self._error(_INVALID_VALUE)
            return float("inf")
        raise self._error(_INVALID_VALUE)
