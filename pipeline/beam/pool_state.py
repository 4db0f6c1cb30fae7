"""The state that a pool of `cxr beam worker-pool` tells, beyond what Beam's own pool can.

Imports neither TFX nor Beam.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from common.code_digest import code_digest, modules_in

# Beside the service of Beam's protocol, on the same port.
SERVICE: Final = "cxr.WorkerPool"
ENVIRONMENT: Final = "Environment"
WORKERS: Final = "Workers"
# What a worker unpickles, and what it computes with.
_PACKAGES: Final = ("apache-beam", "tfx", "tensorflow", "keras", "openvino", "numpy", "pyarrow")
_CODE: Final = ("common", "components", "models", "pipeline", "schema")


class Death(NamedTuple):
    """A worker that ended while there was work for it, and that was not stopped.

    Attributes:
        worker: how many had been started before it.
        status: its exit status, or minus the signal's number.
        started: how many had been started until it ended.
    """

    worker: int
    status: int
    started: int


@dataclass(frozen=True)
class PoolWorkers:
    """The state of a pool's workers so far.

    Attributes:
        pool: one pool's own, and no other's, be it at the same address.
        started: how many.
        died: those that did, in order.
    """

    pool: str
    started: int
    died: tuple[Death, ...]

    def lost_since(self, before: PoolWorkers) -> int | None:
        """Return how a worker ended that nothing has taken the place of; None where none did.

        Args:
            before: what the same pool said earlier. What was started before that is another run's.
        """
        deaths = [death for death in self.died if death.worker >= before.started]
        if not deaths or self.started > deaths[-1].started:
            return None
        return deaths[-1].status

    def to_bytes(self) -> bytes:
        """Write the workers for the wire."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> PoolWorkers:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            said = json.loads(content)
            died = tuple(Death(*map(int, death)) for death in said["died"])
            return cls(str(said["pool"]), int(said["started"]), died)
        except (KeyError, TypeError) as error:
            raise ValueError(f"nothing that a worker pool says: {content[:80]!r}") from error


def environment() -> dict[str, str]:
    """Name -> version of what has to be the same where a run is and where its workers are.

    The code is read anew: a worker that starts later has the code that lies there then.
    """
    code_digest.cache_clear()
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return {**found, "this project's code": code_digest(*modules_in(*_CODE))[:12]}


def how_it_ended(status: int) -> str:
    """Describe an exit status, or minus a signal, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
    # What else sends it without being asked.
    memory = ", as the system sends where memory is short" if name == "SIGKILL" else ""
    return f"signal {name}{memory}"


def environment_from_bytes(content: bytes) -> dict[str, str]:
    """Read what `environment` gave there, as JSON.

    Raises:
        ValueError: it is something else.
    """
    said = json.loads(content)
    if not isinstance(said, dict):
        raise ValueError(f"no environment of a worker pool: {content[:80]!r}")
    return {str(name): str(value) for name, value in said.items()}


def differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    """Say what differs, for a sentence: `tfx 1.21.0 there and 1.16.0 here`."""
    return [
        f"{name} {there.get(name, 'unknown')} there and {value} here"
        for name, value in here.items()
        if there.get(name) != value
    ]
