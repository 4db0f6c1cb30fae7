"""The report where people look for it: OUTPUT/report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from components.report.filing import SETTING_FIELDS
from components.report.sources import ModelSources, ReportSources, in_order
from pipeline.config.layout import OutputLayout
from pipeline.local.folder.damage import name_damage
from pipeline.runs.record import Record


def publish_report(layout: OutputLayout, record: Record) -> None:
    """Copy what the Report node of a run wrote to `layout.report`.

    The artifact stays the cache's; the copy is the user's to move or delete.
    """
    written = layout.artifacts / record.nodes["Report"].outputs["report"]
    _replace(layout.report, lambda folder: shutil.copytree(written, folder))


def rebuild_report(layout: OutputLayout, record: Record) -> None:
    """Write `layout.report` anew from the artifacts of a run; runs no node.

    Raises:
        InputError: the run was stopped before all models were judged; or a file that it wrote is
            damaged.
    """
    from components.report.writing import write_report

    sources = _sources(layout, record)
    try:
        _replace(layout.report, lambda folder: write_report(sources, str(folder)))
    except Exception as error:
        damaged = name_damage(layout, [str(layout.artifacts / each) for each in record.artifacts])
        if damaged:
            raise damaged from error
        raise


def _sources(layout: OutputLayout, record: Record) -> ReportSources:
    def uri_if_any(node: str, key: str) -> str | None:
        place = record.place(node, key)
        return str(layout.artifacts / place) if place else None

    def uri(node: str, key: str) -> str:
        found = uri_if_any(node, key)
        if found is None:
            raise InputError(
                f"output: the last run in {layout.root} has no {key} of {node}: it was stopped; "
                "run it to the end."
            )
        return found

    def model(name: str) -> ModelSources:
        producer = "Trainer" if f"Trainer.{name}" in record.nodes else "Combiner"
        return ModelSources(
            name=name,
            model=uri(f"{producer}.{name}", "model"),
            run=uri(f"{producer}.{name}", "model_run"),
            evaluation=uri(f"Evaluator.{name}", "evaluation"),
            blessed=record.result.models[name].blessed,
            card=uri_if_any(f"ModelCard.{name}", "model_card"),
        )

    # Once it is there, all models are judged.
    uri("Champion", "model")
    return ReportSources(
        models=tuple(map(model, in_order(record.result.models))),
        champion=record.result.champion,
        examples=uri("RadiographExampleGen", "examples"),
        manifest=uri("RadiographExampleGen", "manifest"),
        statistics=uri("StatisticsGen", "statistics"),
        schema=uri("CuratedSchemaGen", "schema"),
        previous_statistics=uri_if_any("PreviousStatistics", "statistics"),
        audit=uri_if_any("ShortcutAudit", "audit"),
        span_drift=uri_if_any("SpanDrift", "drift"),
        settings={name: record.configuration.get(name) for name in SETTING_FIELDS},
    )


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    """Put a new folder in the place of an old one, once it is whole."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
