"""The parts of the DAG that depend on where it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig


@dataclass(frozen=True)
class Platform:
    """The places where a run's nodes find and leave things.

    Attributes:
        root: folder or URI below which TFX puts the artifacts.
        serving: folder or URI with a folder a model name, in it one a pushed version.
        pushed: folder or URI that says what was pushed, in it a folder a model name.
        metadata: TFX's store for lineage and cache; None where the platform has its own.
        features: folder or URI of the store of features, relative to `root`; None for none.
    """

    root: str
    serving: str
    pushed: str
    metadata: metadata_store_pb2.ConnectionConfig | None = None
    features: str | None = None

    def serving_of(self, name: str) -> str:
        """Return the folder of one model's versions."""
        return os.path.join(self.serving, name)

    def pushed_of(self, name: str) -> str:
        """Return the folder that says of one model's versions what they were trained with."""
        return os.path.join(self.pushed, name)


def local_platform(config: PipelineConfig) -> Platform:
    """Put everything below the output folder, with a SQLite store."""
    layout = OutputLayout(config.output)
    return Platform(
        root=str(layout.artifacts),
        serving=str(layout.serving),
        pushed=str(layout.pushed),
        metadata=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(layout.metadata)),
        # Relative, and the same for all runs: so it changes no cache key. Where another store was
        # named, that folder points to it (`pipeline.local_runner`).
        features=os.path.relpath(layout.features, layout.artifacts),
    )
