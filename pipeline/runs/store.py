"""Reads all runs out of the metadata store."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from common.errors import InputError
from pipeline.config.layout import PIPELINE_NAME, OutputLayout
from pipeline.local.folder.places import own_place
from pipeline.local.folder.store_check import check_store, has_store
from pipeline.local.metadata_store import open_store

# As in `pipeline.local.progress`, and what only the store shows: a node that failed, and one whose
# end nobody noted down.
How = Literal["executed", "cached", "resolved", "failed", "unfinished"]

_Event = metadata_store_pb2.Event
_State = metadata_store_pb2.Execution.State
_OUTPUT: Final = (_Event.OUTPUT, _Event.DECLARED_OUTPUT)
_INPUT: Final = (_Event.INPUT, _Event.DECLARED_INPUT)
_HOW: Final[dict[int, How]] = {
    _State.COMPLETE: "executed",
    _State.CACHED: "cached",
    _State.FAILED: "failed",
    _State.CANCELED: "failed",
}
_RESOLVER = ".Resolver"


@dataclass(frozen=True)
class Artifact:
    """What a node wrote, or took from the cache.

    Attributes:
        id: in the store.
        uri: where it lies, or lay, in this output folder, be it a copy of another.
        properties: TFX's and the components' own.
    """

    id: int
    uri: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """What was done for a node in a run.

    Attributes:
        how: as the store has it at the moment.
        properties: execution properties, by which TFX decides whether the cache will do.
        inputs: key -> ids of artifacts.
        outputs: key -> artifact.
        ended_ms: the last change of its record, since the epoch.
    """

    how: How
    properties: Mapping[str, Any]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, Artifact]
    ended_ms: int


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        id: as the runner named it.
        started_ms: since the epoch.
        nodes: node id -> what was done, in the order in which they began.
        newest: no run began later.
    """

    id: str
    started_ms: int
    nodes: Mapping[str, Node]
    newest: bool

    @property
    def started(self) -> datetime.datetime:
        """In UTC."""
        return datetime.datetime.fromtimestamp(self.started_ms / 1000, datetime.timezone.utc)

    @property
    def seconds(self) -> float:
        """From the first node's begin to the last node's end, or to what is known of it."""
        ended = max((node.ended_ms for node in self.nodes.values()), default=self.started_ms)
        return max(ended - self.started_ms, 0) / 1000

    def output(self, node: str, key: str) -> Artifact | None:
        """One artifact; None where the node wrote none."""
        return self.nodes[node].outputs.get(key) if node in self.nodes else None


def read_runs(layout: OutputLayout) -> list[Run]:
    """Every run, oldest first.

    Args:
        layout: of the output folder.

    Raises:
        InputError: there is no metadata store, or what is there isn't one.
    """
    # Looked at before, since a connection could make an empty store.
    if not layout.metadata.is_file():
        raise InputError(
            f"output: {layout.metadata} isn't there; give the folder that was --output of a run."
        )
    try:
        return _read(open_store(layout), layout)
    # MLMD raises RuntimeError for what it can't open, and its own errors for what it can't read.
    except (RuntimeError, mlmd.errors.StatusError) as error:
        journal = layout.metadata.with_name(f"{layout.metadata.name}-journal")
        if has_store(layout) and not journal.exists():
            # Says what is wrong, and what to do.
            check_store(layout)
        hint = (
            " A run that was killed left it half-written; the next `cxr run` there mends it."
            if journal.exists()
            else ""
        )
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"output: {layout.metadata} can't be read as a metadata store.{hint} ({reason})"
        ) from error


def _read(store: mlmd.MetadataStore, layout: OutputLayout) -> list[Run]:
    """A run may be writing: what refers to something else is asked for before it."""
    contexts = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    of_run = {context.id: store.get_executions_by_context(context.id) for context in contexts}
    names = {
        execution.id: context.name.removeprefix(f"{PIPELINE_NAME}.")
        for context in store.get_contexts_by_type("node")
        for execution in store.get_executions_by_context(context.id)
    }
    ids = sorted(execution.id for executions in of_run.values() for execution in executions)
    events: dict[int, list[metadata_store_pb2.Event]] = {}
    for event in store.get_events_by_execution_ids(ids) if ids else []:
        events.setdefault(event.execution_id, []).append(event)
    written = sorted({e.artifact_id for each in events.values() for e in each if e.type in _OUTPUT})
    artifacts = {
        artifact.id: Artifact(
            artifact.id, own_place(artifact.uri, layout), _values(artifact.custom_properties)
        )
        for artifact in (store.get_artifacts_by_id(written) if written else [])
    }
    return [
        Run(
            context.name,
            context.create_time_since_epoch,
            {
                names[execution.id]: _node(execution, events.get(execution.id, []), artifacts)
                for execution in sorted(of_run[context.id], key=lambda execution: execution.id)
                if execution.id in names
            },
            newest=context is contexts[-1],
        )
        for context in contexts
    ]


def _node(
    execution: metadata_store_pb2.Execution,
    events: Iterable[metadata_store_pb2.Event],
    artifacts: Mapping[int, Artifact],
) -> Node:
    inputs: dict[str, tuple[int, ...]] = {}
    outputs: dict[str, Artifact] = {}
    for event in events:
        key = event.path.steps[0].key
        if event.type in _OUTPUT and event.artifact_id in artifacts:
            outputs[key] = artifacts[event.artifact_id]
        elif event.type in _INPUT:
            inputs[key] = (*inputs.get(key, ()), event.artifact_id)
    how = _HOW.get(execution.last_known_state, "unfinished")
    if how == "executed" and execution.type.endswith(_RESOLVER):
        how = "resolved"
    return Node(
        how,
        _values(execution.custom_properties),
        inputs,
        outputs,
        execution.last_update_time_since_epoch,
    )


def _values(properties: Mapping[str, metadata_store_pb2.Value]) -> dict[str, Any]:
    values = {}
    for name, value in properties.items():
        kind = value.WhichOneof("value")
        values[name] = getattr(value, kind) if kind else None
    return values
