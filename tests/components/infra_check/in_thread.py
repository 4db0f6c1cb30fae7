"""InfraCheck's server in a thread of the test's own process.

That it also starts as a process of its own is shown by the golden run, which pushes nothing that
InfraCheck's server didn't answer for (tests/pipeline/test_local_run.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.infra_check import requests_sent
from serving.process import free_port
from serving.servables.loading import load_servable
from serving.servables.servable import Servable
from tests.serving.in_thread import server_in_thread


@contextlib.contextmanager
def running_server(*arguments: str) -> Iterator[Any]:
    """Stand in for `serving.process.running_server`.

    Args:
        arguments: --model-config-file, and --precision where there is one.
    """
    told: dict[str, Any] = dict(zip(arguments[::2], arguments[1::2], strict=True))
    engines: list[str] = []

    def load(version: Path) -> Servable:
        servable = load_servable(version, precision=told.get("--precision", "auto"))
        engines.append(servable.engine)
        return servable

    config, port = Path(told["--model-config-file"]), free_port()
    with server_in_thread(load, config_file=config, grpc_port=port) as server:
        yield SimpleNamespace(
            url=server.url, grpc=f"127.0.0.1:{port}", engine_of=lambda _: engines[-1]
        )


@pytest.fixture
def served_in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have InfraCheck ask such a server."""
    monkeypatch.setattr(requests_sent, "running_server", running_server)
