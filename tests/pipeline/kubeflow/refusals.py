"""What the API server of Kubeflow Pipelines refuses, in the words of the real one (2.17)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

# The beginning of one.
TRACE: Final = (
    "\ngithub.com/kubeflow/pipelines/backend/src/apiserver/server.(*PipelineUploadServer).upload"
    "\n\t/go/src/github.com/kubeflow/pipelines/backend/src/apiserver/server/upload.go:187"
    "\nnet/http.HandlerFunc.ServeHTTP\n\t/go/src/net/http/server.go:2358"
)
_NAME_RULE: Final = (
    "invalid v2 pipeline spec: name should consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_FIELDS: Final = frozenset(
    ("pipelineInfo", "deploymentSpec", "components", "root", "defaultPipelineRoot")
).union(("schemaVersion", "sdkVersion"))


class RefusedError(Exception):
    """An error answer of the API.

    Attributes:
        code: gRPC's.
        message: all of it, as uploads and the gateway say it.
        cause: its end, which the gateway repeats.
    """

    def __init__(self, code: int, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.cause = code, f"{message}{cause}", cause

    @property
    def status(self) -> int:
        """Of HTTP."""
        return {3: 400, 5: 404, 6: 409, 13: 500, 16: 401}[self.code]

    def body(self, uploading: bool) -> dict[str, Any]:
        """What the upload server answers, or the gateway."""
        if uploading:
            return {"error_message": self.message, "error_details": f"{self.message}{TRACE}"}
        if not self.cause:
            return {"code": self.code, "message": self.message}
        kind = "type.googleapis.com/google.rpc.Status"
        detail = {"@type": kind, "code": self.code, "message": self.cause}
        return {"code": self.code, "message": self.message, "details": [detail]}


def checked(content: bytes) -> bytes:
    """The IR, if the server takes it."""
    try:
        spec = next(yaml.safe_load_all(content))
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise RefusedError(3, f"failed to parse pipeline spec YAML: yaml: {line}") from error
    if not isinstance(spec, dict) or "pipelineInfo" not in spec or spec.keys() - _FIELDS:
        raise RefusedError(3, "unknown template format")
    if (version := spec.get("schemaVersion")) != "2.1.0":
        raise RefusedError(
            3,
            f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}",
        )
    if not re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", spec["pipelineInfo"]["name"]):
        raise RefusedError(3, _NAME_RULE)
    return content


def wrong_parameters(version: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    root = version["pipeline_spec"].get("root", {})
    declared = root.get("inputDefinitions", {}).get("parameters", {})
    if unknown := sorted(given.keys() - declared.keys()):
        return f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}"
    for name, value in given.items():
        wants_number = declared[name].get("parameterType", "").startswith("NUMBER")
        if wants_number and not isinstance(value, (int, float)):
            return (
                f"input parameter {name} requires type double or integer, but the parameter value "
                "is not of number value type"
            )
    return ""
