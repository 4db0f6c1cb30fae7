"""Write docs/configuration.md: every field of the configuration, from the models themselves.

    python scripts/configuration_docs.py [FILE]

Names, types, ranges and defaults are the models'; what a field means is their docstrings'.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

sys.path.insert(0, str(Path(__file__).parents[1]))

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.pipeline_config import PipelineConfig

FILE: Final = Path(__file__).parents[1] / "docs" / "configuration.md"
COMMAND: Final = "python scripts/configuration_docs.py"
_HEAD: Final = f"""# Configuration

Every field of a run's configuration. A preset (`pipeline/config/presets/*.yaml`) lies at the
bottom, your YAML file (`--config`) on it, the command line's options on top. `cxr config`, with the
options of `cxr run`, prints what a run would have, and where each value comes from. An unknown
field is an error that names it.

<!-- Written by `{COMMAND}`: change the models' docstrings, not this file. -->
"""
_BOUNDS: Final = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "not empty"}
_NAMES: Final = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path",
    type(None): "null",
}  # fmt: skip


def document() -> str:
    """Write the whole page."""
    return _HEAD + "".join(_sections(PipelineConfig, ""))


def _sections(model: type[BaseModel], above: str) -> Iterator[str]:
    """Write a table of a model's own fields, and then one of each model in them."""
    said = _attributes(model)
    title = f"`{above.removesuffix('.')}`" if above else "The top"
    summary = (model.__doc__ or "").strip().partition("\n")[0]
    yield f"\n## {title}\n\n{summary}\n\n| field | is | default | what it is |\n|---|---|---|---|\n"
    inner = []
    for name, field in model.model_fields.items():
        part, many = _model_in(field.annotation)
        if part:
            inner.append((part, f"{above}{name}{many}."))
        kind = _type(field.annotation) + _bounds(field)
        default = "see below" if part and not many and "null" not in kind else _default(field)
        meaning = said[name][:1].upper() + said[name][1:]
        yield f"| `{above}{name}` | {kind} | {default} | {meaning} |\n"
    for part, path in inner:
        yield from _sections(part, path)


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """Find each field's sentences in the docstring."""
    text = (model.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if start := re.match(r" {8}(\w+): (.*)", line):
            name = start[1]
            found[name] = start[2]
        elif line.strip():
            found[name] += f" {line.strip()}"
    return {name: said.replace("|", "\\|") for name, said in found.items()}


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Find the model that a field is or holds, and how many: "" for one, `[]` and `.*` for more."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin = get_origin(annotation)
    for part in get_args(annotation):
        found, _ = _model_in(part)
        if found:
            return found, "[]" if origin is tuple else ".*" if origin is dict else ""
    return None, ""


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "fields"
    return _NAMES.get(annotation, "number" if "Decimal" in str(annotation) else "anything")


def _bounds(field: FieldInfo) -> str:
    found = [
        text.format(getattr(bound, name))
        for bound in field.metadata
        for name, text in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "none: needed"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, dict)):
        return _collection(value)
    return f"`{value}`" if str(value) else "empty"


def _collection(value: tuple[Any, ...] | dict[str, Any]) -> str:
    if not value:
        return "empty"
    shown = [
        getattr(each, "name", None) or (each if isinstance(each, str) else str(each))
        for each in value
    ]
    return ", ".join(f"`{each}`" for each in shown)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(document(), encoding="utf-8")
