"""The report where people look for it: OUTPUT/report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from components.champion.executor import BACKBONE_PROPERTY
from components.report.sources import ModelSources, ReportSources, in_order
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.damage import name_damage
from pipeline.local.summary import RunOutputs, read_run

_EVALUATOR = "Evaluator."


def publish_report(layout: OutputLayout) -> None:
    """Copy what the Report node of the last run wrote to `layout.report`.

    The artifact stays the cache's; the copy is the user's to move or delete.
    """
    uri = read_run(layout).uri("Report", "report")
    _replace(layout.report, lambda folder: shutil.copytree(uri, folder))


def rebuild_report(layout: OutputLayout) -> None:
    """Write `layout.report` anew from the artifacts of the last run; run no node.

    Raises:
        InputError: the last run was stopped before all models were judged, or was made by a
            version that kept no answers; or a file that it wrote is damaged.
    """
    from components.report.writing import write_report

    try:
        sources = _sources(layout)
        _replace(layout.report, lambda folder: write_report(sources, str(folder)))
    except Exception as error:
        damaged = name_damage(layout, read_run(layout).uris)
        if damaged:
            raise damaged from error
        if isinstance(error, KeyError):
            raise InputError(f"output: {error.args[0]}.") from error
        raise


def _sources(layout: OutputLayout) -> ReportSources:
    run = read_run(layout)
    nodes = {node for node, _ in run.artifacts if node.startswith(_EVALUATOR)}
    names = in_order(node.removeprefix(_EVALUATOR) for node in nodes)
    try:
        return _sources_of(run, names)
    except KeyError as error:
        node, key = error.args[0]
        raise InputError(
            f"output: the last run in {layout.root} has no {key} of {node}: it was stopped; "
            "run it to the end."
        ) from error


def _sources_of(run: RunOutputs, names: list[str]) -> ReportSources:
    def uri_if_any(node: str, key: str) -> str | None:
        artifact = run.get(node, key)
        return artifact.uri if artifact else None

    champion = run.artifacts["Champion", "model"].custom_properties.get(BACKBONE_PROPERTY)
    return ReportSources(
        models=tuple(_model(run, name) for name in names),
        champion=(champion.string_value or None) if champion else None,
        examples=run.uri("RadiographExampleGen", "examples"),
        manifest=run.uri("RadiographExampleGen", "manifest"),
        statistics=run.uri("StatisticsGen", "statistics"),
        schema=run.uri("CuratedSchemaGen", "schema"),
        previous_statistics=uri_if_any("PreviousStatistics", "statistics"),
        audit=uri_if_any("ShortcutAudit", "audit"),
        span_drift=uri_if_any("SpanDrift", "drift"),
    )


def _model(run: RunOutputs, name: str) -> ModelSources:
    producer = "Trainer" if run.get(f"Trainer.{name}", "model") else "Combiner"
    blessing = run.artifacts[f"{_EVALUATOR}{name}", "blessing"]
    card = run.get(f"ModelCard.{name}", "model_card")
    return ModelSources(
        name=name,
        model=run.uri(f"{producer}.{name}", "model"),
        run=run.uri(f"{producer}.{name}", "model_run"),
        evaluation=run.uri(f"{_EVALUATOR}{name}", "evaluation"),
        blessed=blessing.custom_properties["blessed"].int_value == 1,
        card=card.uri if card else None,
    )


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    """Put a new folder in the place of an old one, once it is whole."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
