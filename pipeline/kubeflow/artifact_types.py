"""The artifacts of KFP's ExecutorInput that are the step's own, and their types.

KFP's backend hands an input on without its type (an empty schema; without ML Metadata, one of its
own `system.` types), and gives each step outputs that the IR doesn't name, such as `executor-logs`.
TFX's entry point can do with neither. The step's own definitions, which the compiler writes into
its command, say what is what.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import yaml

_LOG: Final = logging.getLogger(__name__)
# KFP's own types, which say nothing of what TFX needs to know.
_KFP: Final = "system."


def keep_own_artifacts(
    invocation: dict[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None
) -> None:
    """Fill in the types, and leave out what the step doesn't know, in place.

    Args:
        invocation: KFP's ExecutorInput as JSON.
        inputs: the component's `inputDefinitions`.
        outputs: its `outputDefinitions`; None where the IR was compiled before it told them: then
            what has a type of KFP's own is not the step's.
    """
    _keep(invocation.get("inputs", {}), inputs.get("artifacts", {}), "input")
    known = None if outputs is None else outputs.get("artifacts", {})
    _keep(invocation.get("outputs", {}), known, "output")


def _keep(side: dict[str, Any], definitions: Mapping[str, Any] | None, what: str) -> None:
    found = {}
    for name, listed in side.get("artifacts", {}).items():
        defined = (definitions or {}).get(name, {}).get("artifactType")
        artifacts = listed.get("artifacts", [])
        if defined is None and (definitions is not None or not all(map(_has_type, artifacts))):
            _LOG.debug("The %s %s is none of this step's, and is left to KFP.", what, name)
            continue
        for artifact in artifacts:
            if not _has_type(artifact):
                artifact["type"] = defined
        found[name] = listed
    if "artifacts" in side:
        side["artifacts"] = found


def title_of(artifact: Mapping[str, Any]) -> str:
    """Return the name of an artifact's type, such as `tfx.Model`; empty where KFP says none."""
    schema = yaml.safe_load(artifact.get("type", {}).get("instanceSchema", "")) or {}
    return str(schema.get("title", "")) if isinstance(schema, dict) else ""


def _has_type(artifact: Mapping[str, Any]) -> bool:
    """Return whether an artifact says which of TFX's, or of this project's, types it has."""
    title = title_of(artifact)
    return bool(title) and not title.startswith(_KFP)
