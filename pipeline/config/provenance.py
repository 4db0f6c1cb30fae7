"""The configuration as a run has it, each value with where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from models.backbones import get_backbone
from pipeline.config.layers import layers
from pipeline.config.pipeline_config import PipelineConfig, from_layers

DEFAULT: Final = "default"
TABLE: Final = "models/backbones.py"
# Whether folds judge, where nobody says so: what trains decides.
FOLLOWS: Final = "boundary and head"
PAPER: Final = "the paper's recipe, models/backbones.py"
# Below it stands what each backbone is trained by.
RESOLVED: Final = "training_of"
_OVERRIDES: Final = "training_overrides"
_SECRET: Final = re.compile(r"(?i)^(--[^=]*(?:secret|password|token|credential|key)[^=]*=).+")


class Value(NamedTuple):
    """A field of the configuration.

    Attributes:
        field: its name with dots, such as `gate.min_accuracy`.
        value: as JSON and YAML have it; credentials in Beam's options as `***`.
        source: a preset, a file with its line, the command line, a table, or `default`.
    """

    field: str
    value: Any
    source: str


def resolve(
    file: Path | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Value]:
    """List all values that a run would have, in the order of the models' fields.

    Args:
        file: as in `load_config`.
        preset: likewise.
        overrides: likewise.

    Returns:
        The configuration's own fields; behind them, below RESOLVED, each backbone's recipe.

    Raises:
        InputError: as `load_config`.
    """
    given = layers(file, preset=preset, overrides=overrides)
    config = from_layers(given, file)
    lines = _lines(file)

    def source(field: str) -> str:
        for name, layer in reversed(given):
            if _holds(layer, field):
                line = _nearest(lines, field) if name == str(file) else None
                return f"{name}:{line}" if line else name
        return DEFAULT

    found = []
    for field, value in fields(config).items():
        above, _, rest = field.partition(".")
        if above == RESOLVED:
            backbone, _, name = rest.partition(".")
            found.append(Value(field, value, _of_recipe(config, backbone, name, value, source)))
        else:
            found.append(Value(field, value, source(field)))
    return found


def fields(config: PipelineConfig) -> dict[str, Any]:
    """List a configuration's own fields by dotted name; behind them each backbone's recipe.

    Args:
        config: whose.

    Returns:
        Values as JSON has them; what may be a credential is masked.
    """
    found = dict(_flat(config.model_dump(mode="json")))
    for backbone in config.backbones:
        recipe = config.training_for(backbone).model_dump(mode="json")
        found.update(_flat(recipe, f"{RESOLVED}.{backbone}."))
    return {field: _masked(value) for field, value in found.items()}


def as_yaml(values: Sequence[Value]) -> str:
    """Write YAML, a line a value, with where it comes from behind it.

    What is below RESOLVED follows from the rest, and stands there as a comment.

    Args:
        values: of `resolve`.
    """
    lines: list[str] = []
    open_: tuple[str, ...] = ()
    for field, value, source in values:
        *above, last = field.split(".")
        mark = "# " if above[:1] == [RESOLVED] else ""
        for depth, part in enumerate(above):
            if tuple(above[: depth + 1]) != open_[: depth + 1]:
                lines.append(f"{mark}{'  ' * depth}{part}:")
        open_ = tuple(above)
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
        text = text.removesuffix("\n").removesuffix("\n...")
        lines.append(f"{mark}{'  ' * len(above)}{last}: {text}  # {source}")
    return "\n".join(lines) + "\n"


def _of_recipe(config: PipelineConfig, backbone: str, field: str, value: Any, source: Any) -> str:
    """Say where a field of one backbone's recipe comes from."""
    own = f"{_OVERRIDES}.{backbone}.{field}"
    if _holds(config.training_overrides.get(backbone, {}), field):
        return str(source(own))
    recipe = asdict(get_backbone(backbone).paper) if config.paper_recipe else {}
    if field in recipe and field not in config.training.model_fields_set:
        return PAPER
    common = dict(_flat(config.training.model_dump(mode="json")))
    if common.get(field) != value:
        return FOLLOWS if field == "validation" else TABLE
    return str(source(f"training.{field}"))


def _flat(values: Mapping[str, Any], below: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{below}{name}.")
        else:
            yield f"{below}{name}", value


def _holds(layer: Mapping[str, Any], field: str) -> bool:
    """Return whether a layer gives a field, or a whole that it is a part of."""
    value: Any = layer
    for part in field.split("."):
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return True


def _lines(file: Path | None) -> dict[str, int]:
    """Find the line of each field of a YAML file, counted from 1."""
    root = yaml.compose(file.read_text(encoding="utf-8")) if file else None
    found: dict[str, int] = {}

    def walk(node: yaml.Node | None, below: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                found[f"{below}{key.value}"] = key.start_mark.line + 1
                walk(value, f"{below}{key.value}.")

    walk(root, "")
    return found


def _nearest(lines: Mapping[str, int], field: str) -> int | None:
    while field not in lines and "." in field:
        field = field.rpartition(".")[0]
    return lines.get(field)


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_SECRET.sub(r"\1***", each) if isinstance(each, str) else each for each in value]
    return value
