"""Answers as JSON, laid out as TensorFlow Serving's printer lays them out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from serving.protocol.numbers import decimal, decimals
from serving.protocol.predict_request import Format
from serving.protocol.status import invalid
from serving.protocol.tensors import Tensors

_INDENT: Final = "    "
_BYTES_SUFFIX: Final = "_bytes"


def error_json(message: str) -> str:
    """Return an error as JSON."""
    return f'{{\n{_INDENT}"error": {_quoted(message)}\n}}'


def predict_json(outputs: Tensors, form: Format) -> str:
    """Return the answer to `:predict`, in the request's format.

    Args:
        outputs: of the signature.
        form: of the request.

    Raises:
        ServingError: outputs that can't be laid out so, such as rows where the outputs
            differ in their number.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    return _rows(outputs) if form == "row" else _columns(outputs)


def _rows(outputs: Tensors) -> str:
    size: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)
    names = sorted(outputs)
    cells = {name: _cells(name, outputs[name]) for name in names}
    if len(names) == 1:
        # TensorFlow Serving's printer puts the bracket, and no element, on a line of its own.
        body = ", ".join(cells[names[0]]) if size else ""
        return _document("predictions", f"[{body}\n{_INDENT}]" if size else "[]")
    rows = (_object({name: cells[name][row] for name in names}, 2) for row in range(size or 0))
    body = ",".join(f"\n{_INDENT * 2}{row}" for row in rows)
    return _document("predictions", f"[{body}\n{_INDENT}]" if size else "[]")


def _cells(name: str, array: np.ndarray) -> list[str]:
    return [_single_line(name, value) for value in array]


def _columns(outputs: Tensors) -> str:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _document("outputs", _several_lines(name, array, 1))
    columns = {name: _several_lines(name, outputs[name], 2) for name in sorted(outputs)}
    return _document("outputs", _object(columns, 1))


def classify_json(results: Iterable[Sequence[tuple[str, np.floating]]]) -> str:
    """Return the answer to `:classify`: for each example its classes, (label, score)."""
    lines = []
    for classes in results:
        pairs = (f"[{_quoted(label)}, {decimal(score)}]" for label, score in classes)
        lines.append(f"[{', '.join(pairs)}]")
    if not lines:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    return _document("results", f"[{', '.join(lines)}\n{_INDENT}]")


def regress_json(values: Sequence[np.floating]) -> str:
    """Return the answer to `:regress`: a value an example."""
    if not len(values):
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _document("results", f"[{', '.join(map(decimal, values))}]")


def _document(key: str, value: str) -> str:
    return _object({key: value}, 0)


def _object(members: Mapping[str, str], depth: int) -> str:
    inner = _INDENT * (depth + 1)
    lines = ",".join(f"\n{inner}{_quoted(name)}: {value}" for name, value in members.items())
    return f"{{{lines}\n{_INDENT * depth}}}"


def _single_line(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        if _is_vector_of_floats(value):
            return f"[{', '.join(decimals(value))}]"
        return f"[{', '.join(_single_line(name, element) for element in value)}]"
    return _scalar(name, value)


def _is_vector_of_floats(value: np.ndarray) -> bool:
    return value.ndim == 1 and value.dtype in (np.float32, np.float64)


def _several_lines(name: str, value: Any, depth: int) -> str:
    if not (isinstance(value, np.ndarray) and value.ndim):
        return _scalar(name, value)
    if not len(value):
        return "[]"
    inner = _INDENT * (depth + 1)
    texts: Iterable[str]
    if _is_vector_of_floats(value):
        texts = decimals(value)
    else:
        texts = (_several_lines(name, element, depth + 1) for element in value)
    elements = (f"\n{inner}{text}" for text in texts)
    return f"[{','.join(elements)}\n{_INDENT * depth}]"


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value[()]
    if isinstance(value, bytes):
        if name.endswith(_BYTES_SUFFIX):
            return f'{{"b64": {_quoted(base64.b64encode(value).decode())}}}'
        return _quoted(value.decode("utf-8", errors="surrogateescape"))
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    # TensorFlow Serving writes no other types.
    if isinstance(value, np.integer) and not isinstance(value, np.uint16):
        return str(int(value))
    if isinstance(value, np.float32 | np.float64):
        return decimal(value)
    type_name = "half" if isinstance(value, np.float16) else type(value).__name__
    raise invalid(f"Failed to write JSON value for tensor type: {type_name}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
