"""A server in a process of its own, over the conformance models, shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime import prepare_environment
from serving.process import Server, running_server

prepare_environment()

# Small, so that the tests reach them.
LIMITS = (
    *("--max-body-bytes", "300000"),
    *("--max-batch-size", "64"),
    *("--max-pixels", "1000000"),
    *("--read-timeout-seconds", "1"),
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the conformance models with its models.config."""
    from serving.conformance.models import write_models

    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """It, with limits that tests can reach. Nothing may be changed in it."""
    with running_server("--model-config-file", str(models / "models.config"), *LIMITS) as running:
        yield running
