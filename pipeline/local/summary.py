"""Reads a run's result back from the metadata store."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import ml_metadata as mlmd
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2

from components.evaluator.results import (
    abstaining,
    accuracy_interval,
    candidate_result,
    confidence_curve,
    confusion_matrix,
    gate_figures,
    metrics_of,
    refusal,
)
from components.infra_check.executor import REPORT_FILE as INFRA_REPORT
from components.pushed_versions.choice import VERSION
from components.radiograph_example_gen.manifest import read_summary
from components.serving_precision.executor import CHOSEN_PROPERTY
from components.shortcut_audit.report import AUDIT_FILE, read_audit
from components.span_drift.artifact import DRIFT_FILE
from pipeline.config.layout import PIPELINE_NAME, OutputLayout
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.tuning import BEST_HYPERPARAMETERS, tuner_id
from pipeline.local.metadata_store import open_store
from pipeline.local.tuning_results import latest_search, search_summary
from schema import contract

INT8_CHOICE: Final = os.path.basename(contract.INT8_CHOICE_FILE)


def _latest_run_context(store: mlmd.MetadataStore) -> metadata_store_pb2.Context | None:
    runs = store.get_contexts_by_type("pipeline_run")
    return max(runs, key=lambda run: run.id, default=None)


@dataclass(frozen=True)
class RunOutputs:
    """The output artifacts of one run.

    Attributes:
        artifacts: (node id, output key) -> artifact, cached ones included.
    """

    artifacts: Mapping[tuple[str, str], metadata_store_pb2.Artifact]

    def get(self, node: str, key: str) -> metadata_store_pb2.Artifact | None:
        """Return one artifact; None where the node wrote none."""
        return self.artifacts.get((node, key))

    def uri(self, node: str, key: str) -> str:
        """Return one artifact's URI.

        Raises:
            KeyError: the node wrote none.
        """
        return self.artifacts[node, key].uri

    def places(self, layout: OutputLayout) -> dict[str, dict[str, str]]:
        """Node -> output key -> the artifact's folder, as seen from `layout.artifacts`."""
        found: dict[str, dict[str, str]] = {}
        for (node, key), artifact in self.artifacts.items():
            place = artifact.uri.removeprefix(f"{layout.artifacts}/")
            found.setdefault(node, {})[key] = place
        return found

    @property
    def uris(self) -> list[str]:
        """The places of all artifacts."""
        return [artifact.uri for artifact in self.artifacts.values()]


def read_run(layout: OutputLayout) -> RunOutputs:
    """Collect what the last run wrote or took from the cache."""
    store = open_store(layout)
    run = _latest_run_context(store)
    found: dict[tuple[str, str], metadata_store_pb2.Artifact] = {}
    if run is None:
        return RunOutputs(found)
    outputs = (
        metadata_store_pb2.Event.OUTPUT,
        metadata_store_pb2.Event.DECLARED_OUTPUT,
        # Of resolvers.
        metadata_store_pb2.Event.INTERNAL_OUTPUT,
    )
    for execution in store.get_executions_by_context(run.id):
        node = _node_id(store, execution.id)
        for event in store.get_events_by_execution_ids([execution.id]):
            if event.type in outputs:
                (artifact,) = store.get_artifacts_by_id([event.artifact_id])
                found[node, event.path.steps[0].key] = artifact
    return RunOutputs(found)


def _node_id(store: mlmd.MetadataStore, execution_id: int) -> str:
    contexts = store.get_contexts_by_execution(execution_id)
    name = next(context.name for context in contexts if context.type == "node")
    return name.removeprefix(f"{PIPELINE_NAME}.")


def summarize(
    config: PipelineConfig, outputs: RunOutputs, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Summarize a run, in the form that the README describes; of one that failed, a part.

    Args:
        config: of the run.
        outputs: what it wrote or took from the cache.
        seconds: node id -> wall-clock seconds, and `total`.
    """
    champion = outputs.get("Champion", "model")
    layout = OutputLayout(config.output)
    return {
        "tfx_version": version("tfx"),
        "preset": config.preset,
        "seed": config.seed,
        "data": _data(config, outputs),
        "audit": _audit(outputs),
        "models": {
            name: _model_summary(name, outputs, len(config.data.classes), layout)
            | _recipe(name, config, outputs)
            for name in (*config.backbones, *config.put_together)
            if outputs.get(f"Evaluator.{name}", "evaluation")
        },
        "champion": _property(champion, "backbone") if champion else None,
        "champion_pushed_to": _pushed_to(contract.CHAMPION, outputs),
        "seconds": {node: round(spent, 3) for node, spent in seconds.items()},
    }


def _data(config: PipelineConfig, outputs: RunOutputs) -> dict[str, Any] | None:
    """Say what the split is; None before there is one."""
    manifest = outputs.get("RadiographExampleGen", "manifest")
    if manifest is None:
        return None
    content = read_summary(manifest.uri)
    return {
        "classes": [c.name for c in config.data.classes],
        "counts": _per_split(content["split_counts"]),
        "duplicates_dropped": content["duplicates_dropped"],
        "patients_in_two_splits": content["patients_in_two_splits"],
        "bad": content["bad"],
        "left_out": content["left_out"],
        "deviations": content["deviations"],
        "could_not_know": content["remarks"],
        "digest": content["digest"],
        "manifest": manifest.uri,
        **_spans(content, outputs),
    }


def _audit(outputs: RunOutputs) -> dict[str, Any] | None:
    """Return what the audit says, and where all of it is; None where there was none."""
    audit = outputs.get("ShortcutAudit", "audit")
    if audit is None:
        return None
    content = read_audit(audit.uri)
    kept = {key: content[key] for key in ("passed", "failures", "findings")}
    return {**kept, "report": os.path.join(audit.uri, AUDIT_FILE)}


def _spans(manifest: Mapping[str, Any], outputs: RunOutputs) -> dict[str, Any]:
    """Return the spans, and how far the last is from the one before; nothing without spans."""
    drift = outputs.get("SpanDrift", "drift")
    if drift is None:
        return {}
    return {"spans": manifest["spans"], "drift": _read_json(drift.uri, DRIFT_FILE)}


def _per_split(per_class: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {
        split: {name: counts[split] for name, counts in per_class.items()}
        for split in contract.SPLITS
    }


def write_summary(layout: OutputLayout, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`, whole or not at all."""
    unfinished = layout.summary.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(layout.summary)


def _property(artifact: metadata_store_pb2.Artifact, name: str) -> str | None:
    value = artifact.custom_properties.get(name)
    return (value.string_value or None) if value is not None else None


def _pushed_to(name: str, outputs: RunOutputs) -> str | None:
    pushed = outputs.get(f"Pusher.{name}", "pushed_model")
    return _property(pushed, "pushed_destination") if pushed else None


def _baseline(name: str, outputs: RunOutputs, layout: OutputLayout) -> str | None:
    """Return the folder of the version that the model was compared with."""
    found = outputs.get(f"Baseline.{name}", "model")
    chosen = _property(found, VERSION) if found else None
    return str(layout.serving / name / chosen) if chosen else None


def _model_summary(
    name: str, outputs: RunOutputs, n_classes: int, layout: OutputLayout
) -> dict[str, Any]:
    evaluation = outputs.uri(f"Evaluator.{name}", "evaluation")
    confusion = confusion_matrix(evaluation, n_classes)
    correct = sum(confusion[i][i] for i in range(n_classes))
    total = sum(map(sum, confusion))
    backbone = outputs.get(f"PretrainedBackbone.{name}", "model")
    blessing = outputs.get(f"Evaluator.{name}", "blessing")
    validation = _validation(name, outputs)
    return {
        "weights": _property(backbone, "weights") if backbone else None,
        "members": validation.get("members"),
        **_of_the_table(validation),
        "accuracy": correct / total,
        "correct": correct,
        "total": total,
        "confusion": confusion,
        "wilson95": accuracy_interval(metrics_of(candidate_result(evaluation))),
        "blessed": bool(
            blessing is not None and blessing.custom_properties["blessed"].int_value == 1
        ),
        "gate": gate_figures(evaluation),
        "refused_because": refusal(evaluation),
        "infra_validation": _infra_validation(name, outputs),
        **_served_in(name, outputs),
        "abstain": abstaining(validation["abstain"]["threshold"], confidence_curve(evaluation)),
        "baseline": _baseline(name, outputs, layout),
        "pushed_to": _pushed_to(name, outputs),
    }


def _of_the_table(validation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a model that takes the table; nothing of any other."""
    fields = ("columns", "table", contract.NOT_TO_PUSH)
    return {name: validation[name] for name in fields if name in validation}


def _infra_validation(name: str, outputs: RunOutputs) -> dict[str, Any] | None:
    """Return whether the model could be served, and if not, why; None where that wasn't tried."""
    check = outputs.get(f"InfraCheck.{name}", "blessing")
    blessing = check or outputs.get(f"InfraValidator.{name}", "blessing")
    if blessing is None:
        return None
    passed = blessing.custom_properties["blessed"].int_value == 1
    failures = _read_json(check.uri, INFRA_REPORT)["failures"] if check else []
    return {"passed": passed, "failures": failures}


def _served_in(name: str, outputs: RunOutputs) -> dict[str, Any]:
    """Return the precision that was chosen and why, where `serve.precision` asks for one."""
    files = outputs.get(f"ServingPrecision.{name}", "files")
    if files is None:
        return {}
    asked = files.custom_properties[CHOSEN_PROPERTY].string_value
    int8 = None
    if tf.io.gfile.exists(os.path.join(files.uri, INT8_CHOICE)):
        choice = _read_json(files.uri, INT8_CHOICE)
        int8 = {key: choice[key] for key in ("chosen", "reason", "figures")}
    return {"serve": {"precision": asked or "auto", "int8": int8}}


def _recipe(name: str, config: PipelineConfig, outputs: RunOutputs) -> dict[str, Any]:
    """Return a backbone's training and what search found the recipe; a combination has none."""
    run = outputs.get(f"Trainer.{name}", "model_run")
    if run is None:
        return {"training": None, "tuned": None}
    best = None
    if config.tuning.mode != "off":
        store = open_store(OutputLayout(config.output))
        searched = outputs.get(tuner_id(name), BEST_HYPERPARAMETERS)
        best = searched or latest_search(store, name)
    return {
        "training": _read_json(run.uri, contract.TRAINING_FILE),
        "tuned": search_summary(store, best) if best else None,
        **({"continued": _continued(run.uri)} if config.continues else {}),
    }


def _continued(run_uri: str) -> dict[str, Any] | None:
    """Return from which model a training started, or why it didn't; None where there was none."""
    if not tf.io.gfile.exists(os.path.join(run_uri, contract.CONTINUED_FILE)):
        return None
    return _read_json(run_uri, contract.CONTINUED_FILE)


def _validation(name: str, outputs: RunOutputs) -> dict[str, Any]:
    """Say what Trainer or ModelCombiner found where the model is judged."""
    run = outputs.get(f"Trainer.{name}", "model_run") or outputs.get(
        f"Combiner.{name}", "model_run"
    )
    assert run is not None
    return _read_json(run.uri, contract.VALIDATION_FILE)


def _read_json(uri: str, name: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(uri, name)) as file:
        content: dict[str, Any] = json.load(file)
    return content
