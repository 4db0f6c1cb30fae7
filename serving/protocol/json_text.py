"""JSON as RapidJSON reads and prints it, which TensorFlow Serving uses."""

from __future__ import annotations

import json
from typing import Any, Final

from serving.protocol.status import ServingError, invalid

# What RapidJSON says where Python's parser says what stands before it.
_MESSAGES: Final = (
    ("Expecting value", "Invalid value."),
    ("Extra data", "The document root must not be followed by other values."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma", "Missing a name for object member."),
    ("Expecting ':' delimiter", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid control character", "Invalid encoding in string."),
    ("Invalid \\uXXXX", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
)
_COMMA_IN_ARRAY: Final = "Missing a comma or ] after an array element."
_COMMA_IN_OBJECT: Final = "Missing a comma or } after an object member."
# An error repeats the value at fault; not more of it than this.
_SHOWN_CHARACTERS: Final = 2000


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a request's body.

    NaN, Infinity and -Infinity are numbers. Of a name that an object has twice, the first
    counts.

    Raises:
        ServingError: it is no JSON, or no object.
    """
    if not body:
        raise _parse_error("The document is empty")
    # Bytes that are no UTF-8 come back as they were where a string becomes bytes again.
    text = body.decode("utf-8", errors="surrogateescape")
    if not text.strip(" \t\r\n"):
        raise _parse_error(f"The document is empty. at offset: {len(body)}")
    try:
        value = json.loads(text, object_pairs_hook=_first_counts)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", errors="surrogateescape"))
        raise _parse_error(f"{_message(error, text)} at offset: {offset}") from error
    except RecursionError as error:
        raise _parse_error("The document is nested too deeply.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _parse_error("Number too big to be stored in double.") from error
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def _first_counts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    return dict(reversed(pairs))


def _parse_error(what: str) -> ServingError:
    return invalid(f"JSON Parse error: {what}")


def _message(error: json.JSONDecodeError, text: str) -> str:
    if error.msg.startswith("Expecting ',' delimiter"):
        return _COMMA_IN_OBJECT if _inside(text[: error.pos]) == "{" else _COMMA_IN_ARRAY
    return next((ours for theirs, ours in _MESSAGES if error.msg.startswith(theirs)), error.msg)


def _inside(text: str) -> str:
    """Find the bracket that is open at the end of JSON that is right so far."""
    open_brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            open_brackets.append(character)
        elif character in "]}":
            open_brackets.pop()
    return open_brackets[-1] if open_brackets else "["


def shown(value: Any) -> str:
    """Show a value as an error does: printed over several lines, cut short where it is long."""
    printer = json.JSONEncoder(indent=4, ensure_ascii=False)
    parts = []
    length = 0
    for part in printer.iterencode(value):
        parts.append(part)
        length += len(part)
        if length > _SHOWN_CHARACTERS:
            return "".join(parts)[:_SHOWN_CHARACTERS] + "…"
    return "".join(parts)


def kind(value: Any) -> str:
    """Return RapidJSON's name for a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
    return names.get(type(value), "Number")
