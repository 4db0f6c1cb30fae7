"""`cxr runs` and `cxr runs diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.layout import OutputLayout

Output = Annotated[Path | None, typer.Option(help="The runs' output folder [default: output].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and no table.")]

runs_app = typer.Typer(rich_markup_mode=None)


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, output: Output = None, as_json: AsJson = False) -> None:
    """List all runs of an output folder, or compare two; writes nothing."""
    if context.invoked_subcommand is not None:
        # Given before the subcommand, they are its own.
        context.obj = (output, as_json)
        return
    from common.console import open_console
    from pipeline.runs.record import read_records
    from pipeline.runs.tables import notes, print_table, runs_table

    layout = _layout(output)
    found = read_records(layout)
    if as_json:
        listed = [record.to_json(layout) for record in found.readable]
        listed += [{"run": name, "unreadable": said} for name, said in found.unreadable.items()]
        typer.echo(json.dumps(listed, indent=1))
        return
    console = open_console()
    if found.readable:
        print_table(console, runs_table(found.readable))
    for line in notes(found, layout):
        console.print(line)


@runs_app.command("diff")
def diff_command(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="A run's id or its beginning, `latest` or `previous`.")],
    b: Annotated[str, typer.Argument(help="The run to compare it with.")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Say what differs between two runs: configuration, code, data, results, nodes."""
    from common.console import open_console
    from pipeline.runs.diff import choose, diff
    from pipeline.runs.diff_tables import print_diff
    from pipeline.runs.record import read_records

    output_before, json_before = context.obj
    layout = _layout(output or output_before)
    records = read_records(layout)
    found = diff(choose(records, a, "A"), choose(records, b, "B"))
    if as_json or json_before:
        typer.echo(json.dumps(found.to_json(layout), indent=1))
    else:
        print_diff(open_console(), found)


def _layout(output: Path | None) -> OutputLayout:
    return OutputLayout(output or Path("output"))
