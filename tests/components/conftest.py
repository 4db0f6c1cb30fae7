"""Fixtures for tests that run nodes under TFX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., Any]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Runs nodes with LocalDagRunner; returns how to connect to the test's metadata store."""
    from tfx import v1 as tfx

    def run(*nodes: Any, enable_cache: bool = False) -> Any:
        connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.db")
        )
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                "p",
                str(tmp_path / "root"),
                components=list(nodes),
                enable_cache=enable_cache,
                metadata_connection_config=connection,
                # Any name keeps TFX from building a package of itself for the workers.
                beam_pipeline_args=["--sdk_container_image=in-process"],
            )
        )
        return connection

    return run


@pytest.fixture(scope="module")
def quick_beam() -> Iterator[None]:
    """Has executors' Beam jobs run in this process, without Beam's serialisation."""
    from tests import quick_beam

    with quick_beam.quick_beam():
        yield
