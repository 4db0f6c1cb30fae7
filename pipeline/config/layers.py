"""The layers of a configuration: a preset, the user's file, and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from common.errors import InputError
from pipeline.config.beam import YAML_SUFFIXES

Preset = Literal["fast", "paper", "demo"]
PRESETS: Final[tuple[Preset, ...]] = ("fast", "paper", "demo")
COMMAND_LINE: Final = "command line"
_PRESET_DIR = Path(__file__).parent / "presets"


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping on another; values that are no mappings are replaced."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(lower, Mapping)
        merged[key] = merge(lower, value) if both else value  # type: ignore[arg-type]
    return merged


def layers(
    file: Path | None = None,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """List what is given, from the lowest layer to the highest, each with where it comes from.

    Args:
        file: as in `pipeline_config.load_config`.
        preset: likewise.
        overrides: likewise.

    Raises:
        InputError: there is no such preset, or the file can't be read.
    """
    own = _read_yaml(file) if file is not None else {}
    if file is not None:
        own = _anchor_paths(own, file.resolve().parent)
    name = preset or own.get("preset", "fast")
    if name not in PRESETS:
        raise InputError(f"preset: {name!r} is unknown; known are {', '.join(PRESETS)}.")
    above = dict(overrides or {}) | ({"preset": name} if preset else {})
    return [
        (f"preset {name}", _read_yaml(_PRESET_DIR / f"{name}.yaml")),
        (str(file), own),
        (COMMAND_LINE, above),
    ]


def _anchor_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    anchored = dict(values)
    for key in ("output", "weights_dir", "schema_dir"):
        if isinstance(values.get(key), str):
            anchored[key] = folder / Path(values[key]).expanduser()
    if str(values.get("beam", "")).endswith(YAML_SUFFIXES):
        anchored["beam"] = str(folder / Path(values["beam"]).expanduser())
    push = values.get("push")
    if isinstance(push, Mapping) and isinstance(push.get("signing_key"), str):
        place_of_key = folder / Path(push["signing_key"]).expanduser()
        anchored["push"] = {**push, "signing_key": place_of_key}
    featurizer = values.get("featurizer")
    if isinstance(featurizer, Mapping) and isinstance(featurizer.get("store"), str):
        store = featurizer["store"]
        place = store if "://" in store else str(folder / Path(store).expanduser())
        anchored["featurizer"] = {**featurizer, "store": place}
    if isinstance(values.get("data"), Mapping):
        data = dict(values["data"])
        for key in ("dir", "metadata"):
            if isinstance(data.get(key), str):
                data[key] = folder / Path(data[key]).expanduser()
        anchored["data"] = data
    return anchored


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"configuration {file} can't be read: {error.strerror}.") from error
    except _TwiceError as error:
        raise InputError(f"configuration {file}: {error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {file} is no YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"configuration {file}: the top must be a mapping of fields.")
    return values


class _Loader(yaml.SafeLoader):
    """A loader that refuses a key that stands twice; YAML's own keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise _TwiceError(name, seen[name], line)
            seen[name] = line
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _TwiceError(Exception):
    """A key stands in two lines."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(
            f"{key!r} stands in line {first} and again in line {second}; put both together"
        )
