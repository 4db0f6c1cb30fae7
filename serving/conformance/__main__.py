"""Holds a server against the cases, and prints what was expected and what it answered.

python -m serving.conformance                     the embedded server, started for it
python -m serving.conformance --url URL           any other, such as TensorFlow Serving
python -m serving.conformance --write-models DIR  the models that it has to serve for that
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.runtime import prepare_environment

_GOT_CHARACTERS = 160


def main(
    url: Annotated[str, typer.Option(help="Of the REST API, up to the port.")] = "",
    write_models: Annotated[
        Path | None, typer.Option(help="Write the models and models.config there, and stop.")
    ] = None,
) -> None:
    """Run the cases."""
    prepare_environment()
    if write_models is not None:
        from serving.conformance.models import write_models as write

        typer.echo(f"Serve {write(write_models)}, then run this with --url.")
        return
    with contextlib.nullcontext(url) if url else _embedded() as address:
        failed = _show(address)
    if failed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _embedded() -> Iterator[str]:
    from serving.conformance.models import write_models
    from serving.process import running_server

    with tempfile.TemporaryDirectory() as folder:
        config = write_models(Path(folder))
        with running_server("--model-config-file", str(config)) as server:
            yield server.url


def _show(url: str) -> int:
    from serving.conformance.cases import CASES, try_case
    from serving.conformance.source_cases import SOURCE_CASES

    table = Table("case", "request", "expected", "got", "", title=f"Conformance of {url}")
    failed = 0
    cases = (*CASES, *SOURCE_CASES)
    for case in cases:
        outcome = try_case(case, url)
        failed += not outcome.passed
        cells = (case.number, case.request, case.expected, outcome.got[:_GOT_CHARACTERS])
        table.add_row(*map(escape, cells), "ok" if outcome.passed else "[red]FAILED[/red]")
    console = Console()
    console.print(table)
    console.print(f"{len(cases) - failed} of {len(cases)} cases as expected")
    return failed


if __name__ == "__main__":
    typer.run(main)
