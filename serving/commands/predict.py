"""`cxr predict`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import InputError
from models.rendering import AskedRendering, learned_by
from serving.commands.options import (
    SERVING_FOLDER,
    BitsStored,
    DicomPercentile,
    DicomWindow,
    ModelDir,
    NetworkCache,
    cache_folder,
)

if TYPE_CHECKING:
    from schema.table import TableColumn
    from serving.table_rows import Table


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or DICOM files, or folders of them.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Server to ask, such as http://127.0.0.1:8501; else in this process."),
    ] = None,
    model_dir: ModelDir = SERVING_FOLDER,
    model: Annotated[str, typer.Option(help="A backbone's name, or champion.")] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and no table.")] = False,
    bits_stored: BitsStored = None,
    dicom_window: DicomWindow = None,
    dicom_percentile: DicomPercentile = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="PNG file for the image with what speaks for the answer; for several images, "
            "a folder."
        ),
    ] = None,
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a Structured Report and a heat map of each image, which are DICOM "
            "files; with --table, for reports alone."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a line an image (column file) and columns that the model takes beside "
            "it; each may be missing."
        ),
    ] = None,
    network_cache: NetworkCache = None,
    token_file: Annotated[
        Path | None, typer.Option(help="With --url: a file of this client's token.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="With --url: PEM of who signed the server's certificate.")
    ] = None,
) -> None:
    """Classify images with a pushed model: a server's, or in this process."""
    from rich.progress import track

    from common.console import open_console
    from serving.local_client import latest_version, predict_files
    from serving.prediction import Prediction, files_in, print_results, raise_for

    files = files_in(images)
    if table is not None and explain is not None:
        raise InputError("table: a heat map shows what the image says; leave --explain out.")
    asked = AskedRendering(dicom_window, dicom_percentile)
    pictures = {}
    if explain is not None:
        from serving.explained import plan, write_pictures

        pictures = plan(images, files, explain)
    # With a table, there are reports alone: no heat map is of its answers.
    with_heat_maps = bool(pictures) or (dicom_out is not None and table is None)
    if dicom_out is not None:
        from serving.dicom_results.files import require_dicom, write_results
        from serving.dicom_results.identity import algorithm_of
        from serving.explained import overlay

        if url is not None:
            raise InputError(
                "dicom-out: a server doesn't tell its model's digest, which the report names; "
                "give --model-dir instead of --url."
            )
        require_dicom(files)
        algorithm = algorithm_of(latest_version(model_dir, model))
    if url is not None:
        if bits_stored:
            raise InputError("bits-stored: the server scales; give it to `cxr serve`.")
        from serving.client import Client

        make = None if table is None else partial(_read_table, table, model=model, files=files)
        client = Client(
            url, model, rendering=asked, table=make, token_file=token_file, ca_file=ca_file
        )
        answers = client.predict_files(files, explain=bool(pictures))
        if pictures:
            answers = write_pictures(answers, pictures, client.rendering())
    else:
        from models.table_values import read_columns

        version = latest_version(model_dir, model)
        rendering = asked.over(learned_by(version), str(version))
        columns = read_columns(version)
        answers = predict_files(
            files,
            model_dir,
            model,
            explain=with_heat_maps,
            bits_stored=bits_stored or 0,
            rendering=rendering,
            network_cache=cache_folder(network_cache),
            table=_read_table(table, columns, model=model, files=files)
            if (columns or table) and not with_heat_maps
            else None,
        )
        if dicom_out is not None:
            draw = partial(overlay, rendering=rendering)
            answers = write_results(answers, dicom_out, algorithm, draw)
        if pictures:
            answers = write_pictures(answers, pictures, rendering)
    console = open_console(sys.stderr)
    shown = track(
        answers, "classifying", len(files), console=console, transient=True, disable=len(files) < 2
    )
    results = list(shown)
    if as_json:
        typer.echo(json.dumps([result.to_json() for result in results], indent=1))
    else:
        print_results(results)
        if any(isinstance(result, Prediction) and result.explanation for result in results):
            typer.echo(f"explained in {explain}")
        if any(isinstance(result, Prediction) and result.dicom for result in results):
            what = "reports and heat maps" if with_heat_maps else "reports"
            typer.echo(f"{what} in {dicom_out}: not for diagnosis")
    raise_for(results)


def _read_table(
    file: Path | None, columns: tuple[TableColumn, ...], *, model: str, files: list[Path]
) -> Table:
    """Read a table, and say what of it and of the files finds no partner."""
    from serving.table_rows import read_table

    found = read_table(file, columns, model)
    if file is not None:
        if lacking := found.without_row(files):
            typer.echo(
                f"{len(lacking)} of {len(files)} files have no row in {file} (the first is "
                f"{lacking[0]}): by the image alone",
                err=True,
            )
        if unused := found.without_file(files):
            typer.echo(
                f"{len(unused)} rows of {file} name none of the files (the first is {unused[0]!r})",
                err=True,
            )
    return found
