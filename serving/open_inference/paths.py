"""The meaning of a path of the Open Inference Protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from serving.protocol.paths import ModelRef
from serving.protocol.status import invalid, not_found

What = Literal["server", "live", "ready", "model", "model_ready", "infer"]
_SERVER: Final[dict[str, What]] = {
    "/v2": "server",
    "/v2/": "server",
    "/v2/health/live": "live",
    "/v2/health/ready": "ready",
}
_MODEL: Final = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>infer|ready))?"
)
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Target:
    """The meaning of a request.

    Attributes:
        what: is asked for.
        model: of which; None of the server.
    """

    what: What
    model: ModelRef | None = None


def parse_path(http_method: str, path: str) -> Target:
    """Read a path.

    Args:
        http_method: upper case.
        path: up to the question mark, percent signs included.

    Raises:
        ServingError: nothing is there by that method.
    """
    if path in _SERVER:
        target = Target(_SERVER[path])
    else:
        match = _MODEL.fullmatch(path)
        if match is None:
            raise not_found(f"Nothing is served at {path}")
        whats: dict[str | None, What] = {None: "model", "ready": "model_ready", "infer": "infer"}
        target = Target(
            whats[match["what"]], model_ref(unquote(match["name"]), unquote(match["version"] or ""))
        )
    wanted = ("POST",) if target.what == "infer" else ("GET", "HEAD")
    if http_method not in wanted:
        raise invalid(f"{path} takes {wanted[0]}, and not {http_method}")
    return target


def model_ref(name: str, version: str) -> ModelRef:
    """Say which model and version are meant.

    Args:
        name: of the model.
        version: a number, or else a label; empty for the latest.
    """
    if not version:
        return ModelRef(name)
    if _NUMBER.fullmatch(version):
        return ModelRef(name, version=int(version))
    return ModelRef(name, label=version)
