"""A metadata store made by ml_metadata itself, with a run as TFX notes it down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config.layout import OutputLayout

Outputs = Mapping[str, Mapping[str, Any]]


class Store:
    """An output folder with a store to write into.

    Attributes:
        layout: of the folder.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.layout = OutputLayout(root)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(self.layout.metadata)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = mlmd.MetadataStore(config)
        self._artifacts: dict[int, pb.Artifact] = {}
        self._contexts: dict[int, pb.Context] = {}
        self._by_name: dict[tuple[str, str], pb.Context] = {}
        self._types: dict[tuple[str, str], int] = {}
        self._count = 0

    def begin(self, run_id: str) -> int:
        """A run without a node yet; returns its context's id."""
        return int(self._context("pipeline_run", run_id).id)

    def node(
        self,
        run: int,
        name: str,
        *,
        properties: Mapping[str, Any] | None = None,
        inputs: Mapping[str, int] | None = None,
        outputs: Outputs | None = None,
    ) -> dict[str, int]:
        """What a node did in a run.

        Args:
            run: context's id.
            name: node id.
            properties: execution properties.
            inputs: key -> artifact's id.
            outputs: key -> properties of a new artifact; its folder is made.

        Returns:
            Output key -> artifact's id.
        """
        type_id = self._type(pb.ExecutionType(name=f"components.{name.partition('.')[0]}"))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.COMPLETE)
        _set(execution.custom_properties, properties or {})
        artifacts = [
            (self._artifacts[id_], _event(pb.Event.INPUT, key))
            for key, id_ in (inputs or {}).items()
        ]
        for key, values in (outputs or {}).items():
            self._count += 1
            folder = self.layout.artifacts / name / key / str(self._count)
            folder.mkdir(parents=True)
            type_id = self._type(pb.ArtifactType(name=f"Type of {key}"))
            artifact = pb.Artifact(type_id=type_id, uri=str(folder))
            _set(artifact.custom_properties, values)
            artifacts.append((artifact, _event(pb.Event.OUTPUT, key)))
        # All at once, as TFX does.
        _, ids, _ = self._store.put_execution(
            execution, artifacts, [self._contexts[run], self._context("node", f"cxr-tfx.{name}")]
        )
        written = {}
        for id_, (artifact, event) in zip(ids, artifacts, strict=True):
            artifact.id = id_
            self._artifacts[id_] = artifact
            if event.type == pb.Event.OUTPUT:
                written[event.path.steps[0].key] = id_
        return written

    def folder(self, artifact: int) -> Path:
        """Where an artifact lies."""
        return Path(self._artifacts[artifact].uri)

    def _context(self, kind: str, name: str) -> pb.Context:
        known = self._by_name.get((kind, name))
        if known is not None:
            return known
        context = pb.Context(type_id=self._type(pb.ContextType(name=kind)), name=name)
        (context.id,) = self._store.put_contexts([context])
        self._contexts[context.id] = self._by_name[kind, name] = context
        return context

    def _type(self, wanted: pb.ExecutionType | pb.ArtifactType | pb.ContextType) -> int:
        kind = type(wanted).__name__
        if (kind, wanted.name) not in self._types:
            put = {
                "ExecutionType": self._store.put_execution_type,
                "ArtifactType": self._store.put_artifact_type,
                "ContextType": self._store.put_context_type,
            }[kind]
            self._types[kind, wanted.name] = put(wanted)
        return self._types[kind, wanted.name]


def _event(kind: int, key: str) -> pb.Event:
    event = pb.Event(type=kind)
    event.path.steps.add(key=key)
    event.path.steps.add(index=0)
    return event


def _set(fields: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        kind = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        setattr(fields[name], kind, value)
