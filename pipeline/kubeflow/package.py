"""A pipeline's IR as a file to upload: its check, its name, its digest, its parameters."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from common.errors import InputError

ParameterValue = str | int | float | bool

_COMPILE: Final = "`cxr kubeflow compile` writes such a file."
_NEEDED: Final = ("pipelineInfo", "deploymentSpec", "root")
# What the backend keeps numbers in, a double, tells whole numbers apart up to here.
_LARGEST_EXACT: Final = 2**53
_DIGEST_LETTERS: Final = 12


@dataclass(frozen=True)
class Package:
    """A checked pipeline spec.

    Attributes:
        name: `pipelineInfo.name`.
        content: the file's bytes, to be uploaded as they are.
        documents: what they say: the pipeline spec first, then perhaps a platform spec.
    """

    name: str
    content: bytes
    documents: Sequence[Mapping[str, Any]]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The pipeline spec."""
        return self.documents[0]

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hexadecimal digits, of what the file says, not of its layout."""
        return f"sha256:{hashlib.sha256(_canonical(self.documents)).hexdigest()}"

    @property
    def version_name(self) -> str:
        """A name for a version with just this content."""
        return self.digest.replace(":", "-")[: len("sha256-") + _DIGEST_LETTERS]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(_mapping(_mapping(self.spec["root"], "dag"), "tasks"))

    @property
    def root(self) -> str | None:
        """URI for the artifacts, if the IR names one; no part of KFP reads it there."""
        return str(self.spec.get("defaultPipelineRoot") or "") or None

    def without_cache(self) -> Package:
        """Return the same pipeline with the cache switched off for each task.

        A run of an uploaded version has no such switch; the IR has.
        """
        documents = copy.deepcopy(list(self.documents))
        for dag in _dags(documents[0]):
            for task in dag.values():
                task["cachingOptions"] = {"enableCache": False}
        content = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True).encode()
        return Package(self.name, content, documents)


def read_package(path: Path) -> Package:
    """Read and check an IR file.

    Raises:
        InputError: it can't be read, or is no pipeline spec.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}. {_COMPILE}") from error
    try:
        documents = [d for d in yaml.safe_load_all(content) if d is not None]
    except (yaml.YAMLError, ValueError) as error:
        # Only the first line: the others quote the file.
        reason = (str(error).splitlines() or ["broken"])[0]
        raise InputError(f"{path}: is no YAML ({reason}). {_COMPILE}") from error
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise InputError(f"{path}: holds no mapping, so no pipeline spec. {_COMPILE}")
    spec = documents[0]
    if "pipelineSpec" in spec:
        raise InputError(
            f"{path}: is a PipelineJob, which Kubeflow Pipelines doesn't take; upload what its "
            f"pipelineSpec holds. {_COMPILE}"
        )
    for field in _NEEDED:
        if not isinstance(spec.get(field), dict):
            raise InputError(f"{path}: has no mapping {field}, so is no pipeline spec. {_COMPILE}")
    name = spec["pipelineInfo"].get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: pipelineInfo.name must be a name. {_COMPILE}")
    if not all(isinstance(task, dict) for dag in _dags(spec) for task in dag.values()):
        raise InputError(f"{path}: a task in a dag is no mapping. {_COMPILE}")
    try:
        _canonical(documents)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: holds what JSON can't say ({error}). {_COMPILE}") from error
    return Package(name, content, documents)


def parameters_from(package: Package, given: Sequence[str]) -> dict[str, ParameterValue]:
    """Read the run's parameters, as the IR types them.

    Args:
        package: whose root declares the parameters.
        given: texts `name=value`.

    Returns:
        Name to value, of those that were given.

    Raises:
        InputError: a name that isn't declared, one given twice, a value that isn't of its
            type, or no value for a parameter without a default.
    """
    definitions = _mapping(_mapping(package.spec["root"], "inputDefinitions"), "parameters")
    declared = {name: _mapping(definitions, name) for name in definitions}
    values: dict[str, ParameterValue] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"parameter: {text!r} must be NAME=VALUE. {_listed(declared)}")
        if name not in declared:
            raise InputError(f"parameter: the IR knows no {name!r}. {_listed(declared)}")
        if name in values:
            raise InputError(f"parameter: {name} is given twice.")
        values[name] = _typed(name, value, declared)
    for name, definition in declared.items():
        optional = "defaultValue" in definition or definition.get("isOptional")
        if name not in values and not optional:
            raise InputError(
                f"parameter: {name} has no default; give --parameter {name}=VALUE. "
                f"{_listed(declared)}"
            )
    return values


def _canonical(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(documents, sort_keys=True, default=str).encode()


def _dags(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for holder in (spec["root"], *_mapping(spec, "components").values()):
        if isinstance(holder, dict):
            yield _mapping(_mapping(holder, "dag"), "tasks")


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,16}", text) or abs(int(text)) > _LARGEST_EXACT:
        raise ValueError("a whole number up to 2^53")
    return int(text)


def _number(text: str) -> float:
    problem = "a number such as 0.5 or 1e-3"
    if not re.fullmatch(r"[+-]?[0-9.eE+-]+", text):
        raise ValueError(problem)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(problem) from None
    if not math.isfinite(value):
        raise ValueError(problem)
    return value


def _truth(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


# The names since IR 2.1 and, where they differ, those before.
_READERS: Final[Mapping[str, Callable[[str], ParameterValue]]] = {
    "STRING": str,
    "NUMBER_INTEGER": _whole,
    "INT": _whole,
    "NUMBER_DOUBLE": _number,
    "DOUBLE": _number,
    "BOOLEAN": _truth,
}


def _type_of(definition: Mapping[str, Any]) -> str:
    return str(definition.get("parameterType") or definition.get("type"))


def _typed(name: str, value: str, declared: Mapping[str, Any]) -> ParameterValue:
    kind = _type_of(declared[name])
    if kind not in _READERS:
        raise InputError(
            f"parameter: {name} is a {kind}, which can't be given here; what can: "
            f"{', '.join(_READERS)}."
        )
    try:
        return _READERS[kind](value)
    except ValueError as error:
        raise InputError(
            f"parameter: {name} must be {error}, not {value!r}. {_listed(declared)}"
        ) from None


def _listed(declared: Mapping[str, Any]) -> str:
    if not declared:
        return "The IR has no parameters."
    entries = []
    for name, definition in sorted(declared.items()):
        default = f", {definition['defaultValue']!r}" if "defaultValue" in definition else ""
        entries.append(f"{name} ({_type_of(definition)}{default})")
    return f"There is: {', '.join(entries)}."
