"""The command `cxr check`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.config.overrides import ConfigFile, ImageFolder, MetadataFile, without_none

EXIT_PROBLEMS = 2


def check(
    data: ImageFolder = None,
    metadata: MetadataFile = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a run would read of a data folder, and what stands in its way. Exits with 0 or 2."""
    from common.runtime import prepare_environment
    from pipeline.check.data import check_data
    from pipeline.config.pipeline_config import load_config

    overrides = {"data": without_none({"dir": data, "metadata": metadata})}
    prepare_environment()
    found = check_data(load_config(config, overrides=overrides))
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _print(found)
    if found["problems"]:
        raise typer.Exit(EXIT_PROBLEMS)


def _print(found: Mapping[str, Any]) -> None:
    from rich.table import Table

    from common.console import open_console

    console = open_console()
    if found.get("classes"):
        table = Table("class", "found", "usable")
        for name, row in found["classes"].items():
            table.add_row(name, str(row["found"]), str(row.get("usable", "–")))
        console.print(table)
    for title, key in (
        ("Left out", "left_out"),
        ("Sizes", "sizes"),
        ("Bits a sample", "bit_depths"),
    ):
        if found.get(key):
            counted = ", ".join(f"{name}: {count}" for name, count in found[key].items())
            console.print(f"{title}: {counted}.")
    if "patients" in found:
        known, without = found["patients"]["known"], found["patients"]["images_without"]
        console.print(f"Patients known: {known}; images without one: {without}.")
    for remark in found["remarks"]:
        console.print(f"{remark['topic']}: {remark['sentence']}.")
    for problem in found["problems"]:
        console.print(f"A run would stop: {problem}")
    for split, counts in found.get("split", {}).items():
        console.print(f"{split}: {', '.join(f'{name} {n}' for name, n in counts.items())}.")
    for miss in found.get("deviations", ()):
        console.print(
            f"{miss['split']}, {miss['class_name']}: {miss['got']} images instead of "
            f"{miss['wanted']}: {miss['reason']}."
        )
    if not found["problems"]:
        console.print("A run would go through to the split.")
