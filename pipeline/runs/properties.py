"""Execution properties as fields with dotted names, such as `training.learning_rate`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

# TFX hands what its own components don't know through to the user's functions in this.
_CUSTOM: Final = "custom_config."
CODE_DIGEST: Final = "code_digest"
_METRICS: Final = "eval_config.metrics_specs.0.metrics."
_BOUND: Final = "per_slice_thresholds.0.threshold.value_threshold.lower_bound"
# Where the configuration's own fields of the gate end up.
_GATE: Final = {
    f"{_METRICS}SparseCategoricalAccuracy.{_BOUND}": "gate.min_accuracy",
    f"{_METRICS}AccuracyWilsonLower.{_BOUND}": "gate.min_wilson_lower",
    f"{_METRICS}McNemarPValue.{_BOUND}": "gate.baseline_significance",
}
# And those of an item of `gate.slices`, which are a MetricsSpec of their own, behind the two
# that are always there.
_SLICE: Final = re.compile(r"eval_config\.metrics_specs\.(\d+)\.metrics\.(Slice\w+)\.(.+)")
_OF_SLICE: Final = {
    ("SliceAccuracy", _BOUND): "min_accuracy",
    ("SliceWilsonLower", _BOUND): "min_wilson_lower",
    ("SliceAccuracy", "config.min_images"): "min_images",
    ("SliceWilsonLower", "config.min_images"): "min_images",
}
_SPECS_BEFORE: Final = 2


def fields_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens a node's execution properties.

    JSON in a string is taken apart. Items of a list of objects go by their name where each has
    one of its own, else by their number; other lists are kept whole.

    Args:
        properties: as the store has them.

    Returns:
        Dotted name -> value that JSON knows.
    """
    fields: dict[str, Any] = {}
    for name, value in sorted(properties.items()):
        for path, leaf in _flat(name, _parsed(value)):
            short = _of_the_gate(path) or path.removeprefix(_CUSTOM)
            fields[path if short in properties else short] = leaf
    return fields


def is_code(field: str) -> bool:
    """Whether a field is a digest of code rather than somebody's choice."""
    return field.rpartition(".")[2] == CODE_DIGEST


def _of_the_gate(path: str) -> str | None:
    """The configuration's name of a field that the gate put there."""
    found = _SLICE.fullmatch(path)
    if found is None:
        return _GATE.get(path)
    field = _OF_SLICE.get((found[2], found[3]))
    return f"gate.slices.{int(found[1]) - _SPECS_BEFORE}.{field}" if field else None


def _parsed(value: Any) -> Any:
    """A string's content where that is a JSON object, list or null; all else as it is."""
    if not isinstance(value, str):
        return value
    # TFMA's configuration of a metric is an object without its braces.
    for text in (value, f"{{{value}}}") if value else ():
        try:
            content = json.loads(text)
        except ValueError:
            continue
        if content is None or isinstance(content, (dict, list)):
            return content
    return value


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        items = list(zip(_keys(value), value, strict=True))
    else:
        yield path, value
        return
    for key, item in items:
        yield from _flat(f"{path}.{key}", _parsed(item))


def _keys(items: Sequence[Mapping[str, Any]]) -> list[str]:
    for key in ("class_name", "name"):
        names = [str(item.get(key)) for item in items]
        if all(key in item for item in items) and len(set(names)) == len(items):
            return names
    return [str(index) for index in range(len(items))]
