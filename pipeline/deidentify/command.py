"""`cxr deidentify`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError


def deidentify(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Folder of DICOM files, or one file.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    salt_file: Annotated[
        Path | None,
        typer.Option(
            help="Secret of the pseudonyms.",
            show_default="~/.config/cxr-tfx/deidentification.salt, made when it isn't there",
        ),
    ] = None,
) -> None:
    """Write a folder of DICOM images again without what identifies the patients."""
    from rich.progress import track

    from common.console import open_console
    from common.salt import make_salt, own_file, read_salt
    from pipeline.deidentify.folder import REPORT, keep_apart
    from pipeline.deidentify.folder import deidentify as run

    keep_apart(source, target)

    file = salt_file or own_file("deidentification.salt")
    if salt_file is None and make_salt(file, "salt-file"):
        typer.echo(f"A new salt was made: {file}. Keep it: it alone makes the same pseudonyms.")
    secret = read_salt(file, "salt-file")
    shown = partial(
        track, description="de-identifying", console=open_console(sys.stderr), transient=True
    )
    outcome = run(source, target, secret, progress=shown)
    if outcome.written:
        typer.echo(f"{len(outcome.written)} images of {len(outcome.patients)} patients in {target}")
    for what, times in sorted((+outcome.counts).items()):
        typer.echo(f"  {what}: {times}")
    if outcome.repeated:
        typer.echo(f"{len(outcome.repeated)} files repeat another one, and were written once.")
        for repeated, first in outcome.repeated.items():
            typer.echo(f"  {repeated} is {first}")
    _say_what_to_look_at(outcome.to_look_at, target)
    if outcome.written:
        typer.echo(f"The report without names: {target / REPORT}")
    if outcome.refused:
        lines = "".join(f"\n  {refused.file}: {refused.why}" for refused in outcome.refused)
        total = len(outcome.refused) + len(outcome.written) + len(outcome.repeated)
        raise InputError(f"{len(outcome.refused)} of {total} files weren't de-identified:{lines}")


def _say_what_to_look_at(images: dict[Path, str], target: Path) -> None:
    if images:
        typer.echo(f"Look at these {len(images)} images before you hand them on:")
        for image, why in images.items():
            typer.echo(f"  {target / image}: {why}")
    typer.echo(
        "Text in the pixels is looked for near the edges only, and not removed: an image that "
        "isn't listed may hold some, too."
    )
