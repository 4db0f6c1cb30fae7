"""The command `cxr cache`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

EXIT_DAMAGED: Final = 2
_MEGABYTE: Final = 1e6


def cache(
    output: Annotated[Path, typer.Option(help="OUTPUT of a run.")] = Path("output"),
    mend: Annotated[
        bool, typer.Option("--mend", help="Set damaged artifacts aside: a run makes them again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every artifact of an output folder, and name what is damaged. Exits with 0 or 2."""
    import contextlib

    from common.errors import InputError
    from pipeline.config.layout import OutputLayout
    from pipeline.local.exclusive import alone_in
    from pipeline.local.folder.contents import look_through

    layout = OutputLayout(output)
    if not layout.artifacts.is_dir():
        raise InputError(f"output: {output} holds no artifacts; give the OUTPUT of a `cxr run`.")
    # Nothing is moved from under a run.
    with alone_in(layout) if mend else contextlib.nullcontext():
        found = look_through(layout, mend=mend)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _print(found, output)
    if any(not item["set_aside"] for item in found["damaged"]):
        raise typer.Exit(EXIT_DAMAGED)


def _print(found: Mapping[str, Any], output: Path) -> None:
    from common.console import open_console
    from pipeline.config.layout import OutputLayout
    from pipeline.local.folder.damage import how_to_mend
    from pipeline.runs.tables import new_table, print_table

    console = open_console()
    table = new_table(None, "node", "artifacts", "MB")
    for name, row in found["nodes"].items():
        table.add_row(name, str(row["artifacts"]), f"{row['bytes'] / _MEGABYTE:.1f}")
    print_table(console, table)
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
