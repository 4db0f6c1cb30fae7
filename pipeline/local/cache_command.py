"""The command `cxr cache`, and `clean` below it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config.layout import OutputLayout

EXIT_DAMAGED: Final = 2
_MEGABYTE: Final = 1e6
# Of a network's name.
_SHOWN_DIGITS: Final = 8


Output = Annotated[Path, typer.Option(help="OUTPUT of a run or study.")]

cache_app = typer.Typer()


@cache_app.callback(invoke_without_command=True)
def cache(
    context: typer.Context,
    output: Output = Path("output"),
    mend: Annotated[
        bool, typer.Option("--mend", help="Set damaged artifacts aside: a run makes them again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every artifact of an output folder, name what is damaged, list the features.

    Exits with 0 or 2.
    """
    if context.invoked_subcommand:
        return
    import contextlib

    from common.errors import InputError
    from pipeline.config.layout import OutputLayout
    from pipeline.local.exclusive import alone_in
    from pipeline.local.folder.contents import look_through, nothing

    layout = OutputLayout(output)
    if not layout.artifacts.is_dir() and not layout.features.is_dir():
        raise InputError(f"output: {output} holds no artifacts; give the OUTPUT of a `cxr run`.")
    # Nothing is moved from under a run.
    with alone_in(layout) if mend else contextlib.nullcontext():
        found = look_through(layout, mend=mend) if layout.artifacts.is_dir() else nothing()
    found["features"] = _features(layout)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _print(found, output)
    if any(not item["set_aside"] for item in found["damaged"]):
        raise typer.Exit(EXIT_DAMAGED)


@cache_app.command()
def clean(
    output: Output = Path("output"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove the features that no run or study refers to any more."""
    from common.errors import InputError
    from pipeline.config.layout import OutputLayout
    from pipeline.local.exclusive import alone_in

    layout = OutputLayout(output)
    if not layout.features.is_dir():
        raise InputError(f"output: {output} holds no features; give the OUTPUT of a `cxr run`.")
    # Nothing is removed from under a run.
    with alone_in(layout):
        usage, place = _store_of(layout)
        removed = usage.clean(place, dry_run=dry_run)
    for path, size in removed.what.items():
        typer.echo(f"{size / _MEGABYTE:.1f} MB  {path}")
    verb = "would be removed" if dry_run else "removed"
    typer.echo(f"{removed.size / _MEGABYTE:.1f} MB {verb} from {place}")


def _store_of(layout: OutputLayout) -> tuple[Any, str]:
    """Return the module that knows of a store, which takes TensorFlow, and the store's place."""
    from common.runtime import prepare_environment

    prepare_environment()
    from models.feature_store import usage
    from models.feature_store.store import place_of

    return usage, place_of(str(layout.features))


def _features(layout: OutputLayout) -> dict[str, Any] | None:
    """Describe the store of features; None where there is none."""
    if not layout.features.is_dir():
        return None
    usage, place = _store_of(layout)
    networks = [
        {
            "network": network.name,
            "backbone": network.key.get("backbone"),
            "boundaries": network.key.get("boundaries"),
            "engine": network.key.get("engine"),
            "images": network.images,
            "bytes": network.size,
            "left": network.left,
            "used_by": list(network.used_by),
        }
        for network in usage.look(place)
    ]
    return {"store": place, "networks": networks}


def _print_features(console: Console, features: Mapping[str, Any], output: Path) -> None:
    from pipeline.runs.tables import new_table, print_table

    columns = ("backbone", "up to", "engine", "images", "MB", "used by", "network")
    table = new_table(None, *columns)
    for row in features["networks"]:
        table.add_row(
            str(row["backbone"] or "?"),
            ", ".join(row["boundaries"] or ()),
            str((row["engine"] or ("?",))[0]),
            str(row["images"]),
            f"{row['bytes'] / _MEGABYTE:.1f}",
            str(len(row["used_by"])),
            row["network"][:_SHOWN_DIGITS],
        )
    console.print(f"Features, an image each augmentation, in {features['store']}:")
    print_table(console, table)
    unused = [row for row in features["networks"] if not row["used_by"] or row["left"]]
    if unused:
        size = sum(row["left"] if row["used_by"] else row["bytes"] for row in unused)
        console.print(
            f"{size / _MEGABYTE:.1f} MB are referred to by no run: "
            f"cxr cache clean --output {shlex.quote(str(output))} removes them."
        )


def _print(found: Mapping[str, Any], output: Path) -> None:
    from common.console import open_console
    from pipeline.config.layout import OutputLayout
    from pipeline.local.folder.damage import how_to_mend
    from pipeline.runs.tables import new_table, print_table

    console = open_console()
    if found["nodes"]:
        table = new_table(None, "node", "artifacts", "MB")
        for name, row in found["nodes"].items():
            table.add_row(name, str(row["artifacts"]), f"{row['bytes'] / _MEGABYTE:.1f}")
        print_table(console, table)
    if found["features"]:
        _print_features(console, found["features"], output)
    if unknown := found["unchecked"]:
        console.print(
            f"Not checked, since no run took down what they held: {unknown} artifacts. "
            "The next run does."
        )
    if left := found["unfinished"]:
        console.print(
            f"No node of this store finished {len(left)} folders; no run reads them. You may "
            "remove them:"
        )
        for folder in left:
            console.print(f"  {output / 'artifacts' / folder}")
    for item in found["damaged"]:
        console.print(item["sentence"])
        if item["set_aside"]:
            console.print(f"  It is now in {item['set_aside']}; a run makes it again.")
    if any(not item["set_aside"] for item in found["damaged"]):
        console.print(f"To have them made again: {how_to_mend(OutputLayout(output))}.")
    elif not found["damaged"]:
        console.print("No file is damaged.")
