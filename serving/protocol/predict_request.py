"""The body of a `:predict` request, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from serving.protocol.json_text import parse_object, shown
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import (
    Tensors,
    TensorSpec,
    as_array,
    dense_shape,
    flat_values,
    is_base64,
)

SIGNATURE_NAME: Final = "signature_name"
_INSTANCES: Final = "instances"
_INPUTS: Final = "inputs"
Format = Literal["row", "columnar"]
# Signature name, empty for the default -> its inputs.
InputSpecs = Callable[[str], Mapping[str, TensorSpec]]


@dataclass(frozen=True)
class PredictRequest:
    """The inputs, and what is to be computed of them.

    Attributes:
        signature_name: empty for the default.
        inputs: name -> value.
        format: in which the answer is expected, too.
    """

    signature_name: str
    inputs: Tensors
    format: Format


def signature_of(document: Mapping[str, Any]) -> str:
    """Return the name of the signature that a request asks for; empty where it names none.

    Raises:
        ServingError: it is no string.
    """
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. "
            f"'{SIGNATURE_NAME}' key must be a string value."
        )
    return name


def parse_predict(body: bytes, input_specs: InputSpecs) -> PredictRequest:
    """Read a body in row or columnar format.

    Args:
        body: of the HTTP request.
        input_specs: looks a signature up; its errors pass through.

    Raises:
        ServingError: it isn't formatted as the signature demands.
    """
    document = parse_object(body)
    signature_name = signature_of(document)
    specs = input_specs(signature_name)
    if not specs:
        name = signature_name or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    if _INSTANCES in document and _INPUTS in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of "
            f"'{_INPUTS}' or '{_INSTANCES}' keys to exist "
        )
    if _INSTANCES in document:
        instances = document[_INSTANCES]
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {shown(document)} Excepting '{_INSTANCES}' to be an list/array"
            )
        if not instances:
            raise invalid(f"JSON Value: {shown(document)} No values in '{_INSTANCES}' array")
        return PredictRequest(signature_name, _from_rows(instances, specs), "row")
    if _INPUTS in document:
        return PredictRequest(signature_name, _from_columns(document[_INPUTS], specs), "columnar")
    raise invalid("Missing 'inputs' or 'instances' key")


def _is_named(element: Any) -> bool:
    return isinstance(element, dict) and not is_base64(element)


class _Column:
    """The values of one input, row by row."""

    def __init__(self, spec: TensorSpec) -> None:
        self.default = spec.default
        self.type_name = spec.type_name
        self.shape: tuple[int, ...] | None = None
        self.values: list[Any] = []

    def add(self, value: Any) -> None:
        shape = dense_shape(value)
        values = flat_values(value, self.type_name, shape)
        if self.shape is None:
            self.shape, self._size = shape, len(values)
        elif len(values) != self._size:
            raise invalid(f"Expecting tensor size: {self._size} but got: {len(values)}")
        elif shape != self.shape:
            raise invalid(f"Expecting shape {_shown(self.shape)} but got: {_shown(shape)}")
        self.values += values

    def add_default(self) -> None:
        if self.shape is None:
            self.shape, self._size = (), 1
        elif self.shape != ():
            raise invalid(f"Expecting shape {_shown(self.shape)} but got: {_shown(())}")
        self.values.append(self.default)


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _from_rows(instances: list[Any], specs: Mapping[str, TensorSpec]) -> Tensors:
    if not isinstance(instances[0], dict) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    columns = {name: _Column(spec) for name, spec in specs.items()}
    add = _add_named if _is_named(instances[0]) else _add_plain
    for index, element in enumerate(instances):
        add(columns, element, index)
    return {
        name: as_array(column.values, column.type_name, (len(instances), *(column.shape or ())))
        for name, column in columns.items()
    }


def _add_named(columns: Mapping[str, _Column], element: Any, index: int) -> None:
    if not _is_named(element):
        raise invalid(f"Expecting object but got list at item {index} of input list")
    for name, value in element.items():
        failure = f"Failed to process element: {index} key: {name} of 'instances' list."
        if name not in columns:
            raise invalid(
                f"{failure} Error: INVALID_ARGUMENT: JSON object: does not have named input: {name}"
            )
        _add(columns[name], value, failure)
    lacking = [name for name in columns if name not in element]
    for name in lacking:
        if columns[name].default is not None:
            columns[name].add_default()
    if any(columns[name].default is None for name in lacking):
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: "
            f"{shown(element)} keys must be equal to: {','.join(sorted(columns))}"
        )


def _add_plain(columns: Mapping[str, _Column], element: Any, index: int) -> None:
    if _is_named(element):
        raise invalid(f"Expecting value/list but got object at item {index} of input list")
    # A base64 object first among several inputs comes this far: as in TensorFlow Serving, the
    # map's first input gets it, and the others' emptiness is an error later.
    _add(columns[min(columns)], element, f"Failed to process element: {index} of 'instances' list.")


def _add(column: _Column, value: Any, failure: str) -> None:
    try:
        column.add(value)
    except ServingError as error:
        raise invalid(f"{failure} Error: {error.code.name}: {error.message}") from error


def _from_columns(value: Any, specs: Mapping[str, TensorSpec]) -> Tensors:
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        ((name, spec),) = specs.items()
        return {name: _dense(value, spec)}
    tensors = {}
    for name, spec in specs.items():
        if name in value:
            tensors[name] = _named(name, value[name], spec)
        elif spec.default is None:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return tensors


def _named(name: str, value: Any, spec: TensorSpec) -> Any:
    try:
        return _dense(value, spec)
    except ServingError as error:
        # TensorFlow Serving doesn't name it, and knows no input that may be left out here.
        if spec.default is None:
            raise
        raise invalid(
            f"Failed to process key: {name} of 'inputs'. Error: {error.message}"
        ) from error


def _dense(value: Any, spec: TensorSpec) -> Any:
    shape = dense_shape(value)
    return as_array(flat_values(value, spec.type_name, shape), spec.type_name, shape)
