"""Reads what a search found back from the metadata store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from common.errors import InputError
from models.backbones import get_backbone
from models.hyperparameters import apply_hyperparameters
from pipeline.config.layout import PIPELINE_NAME, OutputLayout
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.tuning import tuner_id
from pipeline.local.metadata_store import open_store

# As TFX's Tuner names its other output, and its files.
_RESULTS: Final = "tuner_results"
_BEST_FILE: Final = "best_hyperparameters.txt"
_RESULTS_FILE: Final = "tuner_results.json"
_OUTPUT_EVENTS: Final = (
    metadata_store_pb2.Event.OUTPUT,
    metadata_store_pb2.Event.DECLARED_OUTPUT,
)


def latest_search(store: mlmd.MetadataStore, backbone: str) -> metadata_store_pb2.Artifact | None:
    """Find the HyperParameters that `tuning.mode: reuse` takes: the last of the backbone's Tuner.

    The same choice as LatestArtifactStrategy's, which the DAG leaves it to.
    """
    context = store.get_context_by_type_and_name("node", f"{PIPELINE_NAME}.{tuner_id(backbone)}")
    if context is None:
        return None
    found = [
        artifact
        for artifact in store.get_artifacts_by_context(context.id)
        if artifact.type == "HyperParameters"
        and artifact.state == metadata_store_pb2.Artifact.State.LIVE
    ]
    return max(found, key=lambda artifact: artifact.id, default=None)


def check_reusable(config: PipelineConfig, layout: OutputLayout) -> None:
    """Check that each backbone has a search's result that this configuration can take.

    Args:
        config: with `tuning.mode` at `reuse`.
        layout: of its output folder.

    Raises:
        InputError: names the backbones that have none, or the fields that don't fit.
    """
    store = open_store(layout) if layout.metadata.exists() else None
    problems = []
    for name in config.backbones:
        best = latest_search(store, name) if store is not None else None
        if best is None or not Path(best.uri, _BEST_FILE).exists():
            problems.append(
                f"{name} has no result of a search in {layout.root}; run with --tune first "
                "(tuning.mode: search)"
            )
            continue
        problems += _misfits(name, best_values(best), config)
    if problems:
        raise InputError("tuning.mode: reuse is not possible:\n  " + "\n  ".join(problems))


def _misfits(name: str, values: dict[str, Any], config: PipelineConfig) -> Sequence[str]:
    backbone = get_backbone(name)
    boundaries = config.tuning.boundaries_of(backbone)
    if values["boundary"] not in boundaries:
        return [
            f"tuning.boundaries: {', '.join(boundaries)}, but the search for {name} ended at "
            f"{values['boundary']!r}; name it, too"
        ]
    try:
        apply_hyperparameters(config.training_for(name), values, backbone)
    except ValueError as error:
        return [f"{name}: {error}"]
    return []


def best_values(best: metadata_store_pb2.Artifact) -> dict[str, Any]:
    """Read the best recipe: fields of TrainingParams by dotted name."""
    values: dict[str, Any] = _read(best.uri, _BEST_FILE)["values"]
    return values


def search_summary(store: mlmd.MetadataStore, best: metadata_store_pb2.Artifact) -> dict[str, Any]:
    """Return what summary.json says of a search, whether this run's or an earlier one's.

    Args:
        store: holds the artifact.
        best: the Tuner's HyperParameters.

    Returns:
        `values` of the best trial, its `validation_loss` (nats), and the numbers of `trials`
        that came to an end and that `failed`.
    """
    events = store.get_events_by_artifact_ids([best.id])
    # A cache hit has the same outputs under an execution of its own.
    by = min(event.execution_id for event in events if event.type in _OUTPUT_EVENTS)
    (results,) = [
        artifact
        for event in store.get_events_by_execution_ids([by])
        if event.type in _OUTPUT_EVENTS and event.path.steps[0].key == _RESULTS
        for artifact in store.get_artifacts_by_id([event.artifact_id])
    ]
    (execution,) = store.get_executions_by_id([by])
    wanted = json.loads(execution.custom_properties["custom_config"].string_value)["trials"]
    rows = _read(results.uri, _RESULTS_FILE)
    return {
        "values": best_values(best),
        "validation_loss": min(row["score"] for row in rows),
        "trials": len(rows),
        "failed": wanted - len(rows),
    }


def _read(uri: str, name: str) -> Any:
    return json.loads(Path(uri, name).read_text(encoding="utf-8"))
