"""Whether a step runs: the IR's conditions are in CEL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# TFX's compiler writes proto fields as it found them in JSON, KFP's documentation as in proto.
_SPELLINGS: Final = {"parameter_values": "parameterValues"}


def holds(condition: str, told: Mapping[str, Any]) -> bool:
    """Evaluates a trigger's condition.

    Args:
        condition: CEL over `inputs`, such as
            `inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == 1.0`.
        told: the step's ExecutorInput.

    Raises:
        ValueError: no CEL, or about something that the step doesn't have.
    """
    import celpy

    inputs = _floats(told["inputs"])
    for spelling, name in _SPELLINGS.items():
        inputs[spelling] = inputs.get(name, {})
    environment = celpy.Environment()
    try:
        program = environment.program(environment.compile(_plain(condition)))
        outcome = program.evaluate({"inputs": celpy.json_to_cel(inputs)})
    except (celpy.CELParseError, celpy.CELEvalError) as error:
        raise ValueError(f"condition {condition!r}: {error}") from error
    return bool(outcome)


def _floats(value: Any) -> Any:
    """All numbers are doubles to KFP, and CEL compares none of them with an int."""
    if isinstance(value, Mapping):
        return {key: _floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_floats(each) for each in value]
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_int else value


def _plain(condition: str) -> str:
    """The condition with doubles alone."""
    return re.sub(r"(?<![\w.'\[])(\d+)(?![\w.'\]])", r"\1.0", condition)
