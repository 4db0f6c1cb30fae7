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
    from pipeline.runs.record import record_of
    from pipeline.runs.store import read_runs
    from pipeline.runs.tables import notes, print_table, runs_table

    layout = _layout(output)
    records = [record_of(run, layout) for run in read_runs(layout)]
    if as_json:
        typer.echo(json.dumps([record.to_json() for record in records], indent=1))
        return
    console = open_console()
    if not records:
        console.print(f"No run in {layout.root} has begun yet.")
        return
    print_table(console, runs_table(records))
    for line in notes(records):
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
    from pipeline.runs.record import record_of
    from pipeline.runs.store import read_runs

    output_before, json_before = context.obj
    layout = _layout(output or output_before)
    all_runs = read_runs(layout)
    found = diff(
        *(
            record_of(choose(all_runs, wanted, name), layout)
            for wanted, name in ((a, "A"), (b, "B"))
        )
    )
    if as_json or json_before:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        print_diff(open_console(), found)


def _layout(output: Path | None) -> OutputLayout:
    return OutputLayout(output or Path("output"))
