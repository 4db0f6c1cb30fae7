"""Walks from an artifact to what it was made of, in the metadata store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

# Without INTERNAL_OUTPUT, by which resolvers hand on what they did not make.
_OUTPUT: Final = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_INPUT: Final = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)


def upstream_artifacts(
    store: mlmd.MetadataStore,
    artifact_id: int,
    type_name: str,
    not_through: frozenset[str] = frozenset(),
) -> list[metadata_store_pb2.Artifact]:
    """The artifacts of one type that came into being on the way to an artifact.

    Breadth first: the executions that wrote the artifact, all that they wrote, what they
    read, the executions that wrote that, and so on. So an artifact that nothing downstream
    reads is found, too, if it lies beside one that is read.

    Args:
        store: with the events of all runs.
        artifact_id: where to start.
        type_name: of the artifacts wanted.
        not_through: keys of inputs that are not followed.

    Returns:
        Those found, sorted by id; the start itself is not among them.
    """
    frontier, visited = {artifact_id}, {artifact_id}
    executions: set[int] = set()
    written: set[int] = set()
    while frontier:
        producers = {
            event.execution_id
            for event in store.get_events_by_artifact_ids(sorted(frontier))
            if event.type in _OUTPUT
        } - executions
        executions |= producers
        events = store.get_events_by_execution_ids(sorted(producers)) if producers else []
        written |= _artifacts(events, _OUTPUT)
        followed = (event for event in events if _key(event) not in not_through)
        frontier = _artifacts(followed, _INPUT) - visited
        visited |= frontier
    others = sorted(written - {artifact_id})
    artifacts = store.get_artifacts_by_id(others) if others else []
    return sorted((a for a in artifacts if a.type == type_name), key=lambda a: a.id)


def written_with(store: mlmd.MetadataStore, artifact_id: int) -> set[int]:
    """Ids of all that the executions wrote that wrote an artifact."""
    events = store.get_events_by_artifact_ids([artifact_id])
    producers = sorted({event.execution_id for event in events if event.type in _OUTPUT})
    return _artifacts(store.get_events_by_execution_ids(producers), _OUTPUT) if producers else set()


def _key(event: metadata_store_pb2.Event) -> str:
    return event.path.steps[0].key if event.path.steps else ""


def _artifacts(events: Iterable[metadata_store_pb2.Event], kinds: tuple[int, ...]) -> set[int]:
    return {event.artifact_id for event in events if event.type in kinds}
