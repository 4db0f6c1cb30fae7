"""Opens a run's metadata store."""

from __future__ import annotations

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.config.layout import OutputLayout


def open_store(layout: OutputLayout) -> mlmd.MetadataStore:
    """Open the metadata store, for reading; it has to exist."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(layout.metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return mlmd.MetadataStore(config)
