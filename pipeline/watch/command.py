"""The command `cxr watch`, and those below it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from common.errors import InputError
from pipeline.pushed_options import Pushed
from pipeline.watch.select_command import admit, select
from serving.commands.options import SERVING_FOLDER, ModelDir

EXIT_ALARM: Final = 4
PAGE: Final = "index.html"
NUMBERS: Final = "watch.json"
METRICS: Final = "metrics.prom"
watch_app = typer.Typer(invoke_without_command=True)


@watch_app.callback()
def watch(
    context: typer.Context,
    log: Annotated[
        Path | None,
        typer.Option(help="The server's --prediction-log-dir, or a shard.", show_default="needed"),
    ] = None,
    model_dir: ModelDir = SERVING_FOLDER,
    pushed: Pushed = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with digest (SHA-256 of the file) and label.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for page, numbers and metrics.")] = Path(
        "output/watch"
    ),
    min_images: Annotated[int, typer.Option(min=2, help="Fewer are too few to judge.")] = 30,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="Chance of a false alarm on a version's page.")
    ] = 0.01,
    min_distance: Annotated[
        float, typer.Option(min=0, max=1, help="From training; less is no alarm.")
    ] = 0.1,
    gate_false_alarms: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="input_gate.false_alarms of the run: what it may keep out."
        ),
    ] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and no words.")] = False,
) -> None:
    """Compare what was served with what was trained. Exits with 0, or with 4 on an alarm."""
    if context.invoked_subcommand is not None:
        return
    if log is None:
        raise InputError("log: give the server's --prediction-log-dir with --log.")
    from common.runtime import prepare_environment

    prepare_environment()
    from pipeline.watch.judging import Thresholds, judge
    from pipeline.watch.kept_folder import kept_folder, references_of
    from pipeline.watch.labels import read_labels
    from pipeline.watch.log_rows import read_rows
    from pipeline.watch.metrics import write_metrics
    from pipeline.watch.page import render

    kept = kept_folder(model_dir, pushed)
    rows = read_rows(log)
    references = references_of(rows, kept)
    classes = {label: None for found in references.values() for label in found.classes}
    told = read_labels(labels, list(classes)) if labels is not None else None
    found = judge(
        rows, references, told, Thresholds(alpha, min_distance, min_images, gate_false_alarms)
    )
    output.mkdir(parents=True, exist_ok=True)
    from pipeline.watch.tfdv_distances import in_words, tfdv_distances

    by_tfdv = tfdv_distances(rows.rows, references)
    for version in found["versions"]:
        version["tfdv"] = by_tfdv[version["model"], version["version"]]
    words = {f"{v['model']} {v['version']}": in_words(v["tfdv"]) for v in found["versions"]}
    (output / PAGE).write_text(render(found, words), encoding="utf-8")
    (output / NUMBERS).write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")
    write_metrics(found, output / METRICS)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for line in _lines(found):
            typer.echo(line)
        typer.echo(f"{output / PAGE}")
    if found["alarms"]:
        raise typer.Exit(EXIT_ALARM)


def _lines(found: Mapping[str, Any]) -> Iterable[str]:
    log = found["log"]
    for version in found["versions"]:
        ends = version["expected_accuracy"]["interval95"]
        few = ", too few to judge" if version["too_few"] else ""
        yield (
            f"{version['model']} {version['version']}: {version['images']} images{few}; expected "
            f"accuracy {100 * version['expected_accuracy']['value']:.1f} % "
            f"({100 * ends[0]:.1f}–{100 * ends[1]:.1f} %), abstained "
            f"{100 * version['abstained']['value']:.1f} %."
        )
        if version["domain"] is not None and version["domain"]["count"]:
            gate = version["domain"]
            reasons = ", ".join(f"{reason} {count}" for reason, count in gate["reasons"].items())
            yield f"  {gate['count']} of {gate['total']} are out of domain: {reasons}."
    for one in found["comparisons"]:
        yield from _compared(one)
    for name, count in log["torn_shards"].items():
        yield f"{name} is torn after {count} records."
    for name, why in log["unread_shards"].items():
        yield f"{name} can't be read: {why}"
    for name, count in log["records_of_another_kind"].items():
        yield f"{name} has {count} records that are no PredictionLog."
    for name, count in log["other_models"].items():
        yield f"{count} images of {name} are not judged: nothing was kept of such a version."
    if log["unanswered"]:
        yield f"{log['unanswered']} records have no class with a probability each."
    if found["labels"] is not None:
        labels = found["labels"]
        yield (
            f"Labels: {labels['used']} used, {len(labels['unknown'])} of digests that the log "
            f"doesn't have, {len(labels['refused'])} lines refused."
        )
    for alarm in found["alarms"]:
        yield f"ALARM: {alarm['sentence']}"
    if not found["alarms"]:
        yield "No alarm."


def _compared(one: Mapping[str, Any]) -> Iterable[str]:
    name = f"{one['model']} {one['first']} and {one['second']}"
    agreement, paired = one["both"]["agreement"], one["both"]["labelled"]
    if agreement is not None:
        yield (
            f"{name}: agree on {agreement['count']} of {agreement['total']} images that both "
            f"answered ({100 * agreement['value']:.1f} %)."
        )
    if paired is not None:
        yield (
            f"  of {paired['images']} labelled ones, right: both {paired['both_right']}, "
            f"{one['first']} alone {paired['only_first']}, {one['second']} alone "
            f"{paired['only_second']}; McNemar's p {paired['mcnemar_p']:.2g}."
        )
    samples = (one["apart"] or {}).get("labelled")
    if samples is not None:
        before, after = samples["right"]
        yield (
            f"{name}, each on images of its own: right {before['count']} of {before['total']} and "
            f"{after['count']} of {after['total']} labelled ones; Fisher's p "
            f"{samples['fisher_p']:.2g}."
        )


watch_app.command()(select)
watch_app.command()(admit)
