"""The commands `cxr watch select` and `cxr watch admit`: from served images to the next span."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import InputError
from pipeline.pushed_options import Pushed
from schema import contract
from serving.commands.options import SERVING_FOLDER, ModelDir

if TYPE_CHECKING:
    from pipeline.watch.log_rows import LogRows
    from pipeline.watch.reference import Reference

_SHOWN = 5


def select(
    log: Annotated[Path, typer.Option(help="The server's --prediction-log-dir, or a shard.")],
    images: Annotated[Path, typer.Option(help="Folder that the images that were served are in.")],
    spans: Annotated[Path, typer.Option(help="data.dir of the runs, with {SPAN} in it.")],
    model_dir: ModelDir = SERVING_FOLDER,
    pushed: Pushed = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Whose answers count.", show_default="champion, or the only one in the log"
        ),
    ] = None,
    unsure: Annotated[int, typer.Option(min=0, help="Images that the model is unsure of.")] = 40,
    drifted: Annotated[int, typer.Option(min=0, help="Images unlike those of training.")] = 40,
    random: Annotated[int, typer.Option(min=0, help="Images of all the others.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    span: Annotated[
        int | None, typer.Option(min=0, help="Number of the span.", show_default="the next")
    ] = None,
) -> None:
    """Choose served images for labelling, and write them as the span that comes next."""
    from common.runtime import prepare_environment

    prepare_environment()
    from models.rendering import DEFAULT, learned_by
    from pipeline.watch.kept_folder import kept_folder, references_of, seen_images
    from pipeline.watch.log_rows import read_rows
    from pipeline.watch.selecting import DRIFTED, RANDOM, UNSURE, latest_answers
    from pipeline.watch.selecting import select as choose
    from pipeline.watch.served_images import find_files
    from pipeline.watch.span_folder import next_place, selected_before, write_selection
    from serving.local_client import latest_version

    wanted = {DRIFTED: drifted, UNSURE: unsure, RANDOM: random}
    if not any(wanted.values()):
        raise InputError("unsure, drifted, random: all are 0; say how many images to choose.")
    # Before anything is read for minutes.
    place = next_place(spans, span)
    kept = kept_folder(model_dir, pushed)
    rows = read_rows(log)
    references = references_of(rows, kept)
    name = _model(rows, references, model)
    versions = [number for known, number in references if known == name]
    asked, nameless = latest_answers(rows.rows, name, versions)
    trained = seen_images(kept, name)
    before = selected_before(spans)
    open_ = {digest: row for digest, row in asked.items() if digest not in trained | before}
    rendering = learned_by(latest_version(model_dir, name)) or DEFAULT
    files = find_files(images, open_.keys(), rendering)
    missing = sorted(open_.keys() - files.of_digest.keys())
    there = [row for digest, row in sorted(open_.items()) if digest in files.of_digest]
    found = choose(there, references, wanted, seed)
    others = {f"{row.model} {row.version}": 0 for row in rows.rows}
    for row in rows.rows:
        others[f"{row.model} {row.version}"] += (row.model, row.version) not in references
    facts: dict[str, Any] = {
        "span": place.number,
        "model": name,
        "seed": seed,
        "classes": _classes(references, name),
        "strata": {
            stratum: {
                "images": size,
                "chosen": sum(one.stratum == stratum for one in found.chosen),
                "wanted": wanted[stratum],
            }
            for stratum, size in found.sizes.items()
        },
        "log": {
            "images": len(asked),
            "in_training": len(asked.keys() & trained),
            "selected_before": len((asked.keys() & before) - trained),
            "without_digest": nameless,
            "unanswered": rows.unanswered,
            "other_models": {name_: count for name_, count in others.items() if count},
            "torn_shards": rows.reading.torn,
            "unread_shards": rows.reading.unread,
            "records_of_another_kind": rows.reading.strange,
        },
        "files": {
            "looked_at": files.looked_at, "missing": missing, "unread": files.unread
        },
    }  # fmt: skip
    for line in _lines(facts):
        typer.echo(line)
    if not found.chosen:
        raise InputError(
            f"images: none of the {len(open_)} images that could be chosen is in {images}."
            if not there
            else "unsure, drifted, random: no image is in the strata that were asked for."
        )
    data = write_selection(place, found.chosen, files.of_digest, facts)
    typer.echo(f"{data}: fill in `label` in metadata.csv, then `cxr watch admit {place.open}`.")


def admit(
    folder: Annotated[Path, typer.Argument(help="What `cxr watch select` made.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV with digest and label, to fill in.", show_default="the folder's own table"
        ),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out", help="Go on without images whose label is missing or of no class."
        ),
    ] = False,
) -> None:
    """Check the labels of a selection, and make it a span that the next run takes."""
    from common.runtime import prepare_environment

    prepare_environment()
    from pipeline.watch.admission import admit as make_span

    found = make_span(folder, labels, leave_out=leave_out)
    if found.unknown:
        more = ", …" if len(found.unknown) > _SHOWN else ""
        typer.echo(
            f"{len(found.unknown)} labels are of images that are not in the selection: "
            f"{', '.join(found.unknown[:_SHOWN])}{more}"
        )
    for file, why in found.left_out.items():
        typer.echo(f"left out: {file}: {why}")
    counts = ", ".join(f"{name} {count}" for name, count in sorted(found.labelled.items()))
    typer.echo(f"{found.folder}: {found.labelled.total()} images ({counts}).")


def _model(rows: LogRows, references: dict[tuple[str, int], Reference], wanted: str | None) -> str:
    """Decide whose answers count."""
    names = sorted({name for name, _ in references})
    logged = sorted({row.model for row in rows.rows})
    if not names:
        raise InputError(
            f"log: it is of {', '.join(logged) or 'no model'}, and nothing was kept of such a "
            "version; give the --model-dir of the run that pushed it."
        )
    if wanted is None:
        wanted = contract.CHAMPION if contract.CHAMPION in names else names[0]
        if wanted != contract.CHAMPION and len(names) > 1:
            raise InputError(f"model: the log has {', '.join(names)}; name one with --model.")
    if wanted not in names:
        raise InputError(f"model: the log has {', '.join(names)}, and no {wanted!r}.")
    return wanted


def _classes(references: dict[tuple[str, int], Reference], name: str) -> list[str]:
    """Return the classes of the latest version."""
    return list(references[max(key for key in references if key[0] == name)].classes)


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    log, files = facts["log"], facts["files"]
    yield f"{log['images']} images that {facts['model']} answered."
    if log["in_training"] or log["selected_before"]:
        yield (
            f"{log['in_training']} were in the training's own data, {log['selected_before']} in "
            "an earlier selection: not chosen again."
        )
    for name, count in log["other_models"].items():
        yield f"{count} images of {name} are passed over: nothing was kept of such a version."
    if log["without_digest"]:
        yield f"{log['without_digest']} answers have no digest, so their images can't be found."
    if log["unanswered"]:
        yield f"{log['unanswered']} records have no class with a probability each."
    for shard, count in log["torn_shards"].items():
        yield f"{shard} is torn after {count} records."
    for shard, why in log["unread_shards"].items():
        yield f"{shard} can't be read: {why}"
    for shard, count in log["records_of_another_kind"].items():
        yield f"{shard} has {count} records that are no PredictionLog."
    for file, why in files["unread"].items():
        yield f"{file} can't be read: {why}"
    if files["missing"]:
        more = ", …" if len(files["missing"]) > _SHOWN else ""
        yield (
            f"{len(files['missing'])} images of the log are not in the folder: "
            f"{', '.join(files['missing'][:_SHOWN])}{more} (all are in selection.json)."
        )
    for stratum, numbers in facts["strata"].items():
        few = ", fewer than asked for" if numbers["chosen"] < numbers["wanted"] else ""
        yield f"{stratum}: {numbers['chosen']} of {numbers['images']}{few}."
    absent = [s for s, n in facts["strata"].items() if n["images"] and not n["chosen"]]
    if absent:
        yield f"The weights say nothing of the images that are {' or '.join(absent)}: none is in."
