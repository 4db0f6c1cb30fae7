"""Fuzzes the server's doors with atheris, one after the other, and shows what came of it.

    make fuzz                                       ten minutes a target
    make fuzz ARGS="--seconds 60 --target json"

Inputs that found something new are kept in `output/fuzz/corpus`, and crashers in
`output/fuzz/crashers`. It ends with 1 after a crasher, or where memory grew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tests.fuzz.targets import TARGETS

_FOLDER: Final = Path("output/fuzz")
_LIMIT_MIB: Final = 4096
_GROWTH_MIB: Final = 200
_HANG_S: Final = 30
_RSS: Final = re.compile(rb"rss: (\d+)Mb")
_UNITS: Final = re.compile(rb"stat::number_of_executed_units: *(\d+)")


def main(
    target: Annotated[list[str] | None, typer.Option(help="Of these; else all.")] = None,
    seconds: Annotated[int, typer.Option(min=1, help="A target.")] = 600,
    seed: Annotated[int, typer.Option(help="Of libFuzzer.")] = 1,
) -> None:
    """Fuzz, and print a table in Markdown."""
    rows, failed = [], False
    for name in target or TARGETS:
        corpus, crashers = _FOLDER / "corpus" / name, _FOLDER / "crashers" / f"{name}-"
        corpus.mkdir(parents=True, exist_ok=True)
        crashers.parent.mkdir(parents=True, exist_ok=True)
        for index, content in enumerate(TARGETS[name][1]()):
            (corpus / f"seed-{index}").write_bytes(content)
        options = [
            f"-max_total_time={seconds}",
            f"-artifact_prefix={crashers}",
            f"-rss_limit_mb={_LIMIT_MIB}",
            f"-timeout={_HANG_S}",
            f"-seed={seed}",
            "-print_final_stats=1",
            "-len_control=0",
            "-max_len=4096",
            str(corpus),
        ]
        command = [sys.executable, "-m", "tests.fuzz.targets", name, *options]
        said = _FOLDER / f"{name}.log"
        with said.open("wb") as sink:
            status = subprocess.run(command, stdout=sink, stderr=sink, check=False).returncode
        content = said.read_bytes()
        memory = [int(mib) for mib in _RSS.findall(content)]
        units = _UNITS.search(content)
        # What is loaded at the first use is there after a third of the inputs that were new.
        settled = memory[len(memory) // 3] if memory else 0
        grew = bool(memory) and memory[-1] - settled > _GROWTH_MIB
        failed |= bool(status) or grew or units is None
        found = f"yes: {said}" if status else "none"
        last = memory[-1] if memory else 0
        rows.append(
            f"| {name} | {seconds} | {int(units[1]) if units else 0:,} | "
            f"{found} | {settled}, {last} |"
        )
    typer.echo("| target | seconds | inputs | crashers | memory settled, at the end, MiB |")
    typer.echo("|---|---|---|---|---|\n" + "\n".join(rows))
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
