"""`cxr serve`, `cxr predict` and `cxr export-openvino`.

Where TensorFlow Serving has a flag, it has that flag's name here.
"""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import absl.logging
import typer

from common.errors import InputError
from models.rendering import Rendering
from serving.settings import LOOPBACK, METRICS_PATH, EngineChoice, Limits, Precision, Settings

if TYPE_CHECKING:
    from schema.table import TableColumn
    from serving.table_rows import Table

_DEFAULT = Limits()
BitsStored = Annotated[
    int | None,
    typer.Option(
        min=9,
        max=15,
        help="Of the detector: scale unscaled 16-bit PNGs by it, as data.bits_stored.",
    ),
]


DicomWindow = Annotated[
    int,
    typer.Option(
        min=1, help="Which of a DICOM's VOI LUTs and windows counts, as data.dicom_window."
    ),
]
DicomPercentile = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=49.9,
        help="Of DICOMs without any: cut off so much at both ends, as data.dicom_percentile.",
    ),
]
NetworkCache = Annotated[
    str | None,
    typer.Option(
        help="Folder for converted networks; empty for none.",
        envvar="CXR_NETWORK_CACHE",
        show_default="~/.cache/cxr-tfx/networks",
    ),
]


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of models, each with numbered versions: a run's serving folder."),
    ] = None,
    model_config_file: Annotated[
        Path | None, typer.Option(help="TensorFlow Serving's models.config, instead.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = LOOPBACK,
    port: Annotated[
        int, typer.Option("--port", "--rest-api-port", help="Of the REST API; 0 for none.")
    ] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Of the gRPC API; 0 for none.")] = 8500,
    model_config_file_poll_wait_seconds: Annotated[
        float, typer.Option(help="Between looks at the config file; 0 to look once.")
    ] = 0.0,
    file_system_poll_wait_seconds: Annotated[
        float, typer.Option(help="Between looks for new versions; 0 to look once.")
    ] = 1.0,
    allow_version_labels_for_unavailable_models: Annotated[
        bool,
        typer.Option(
            "--allow-version-labels-for-unavailable-models",
            help="Accept a label of a version that isn't loaded.",
        ),
    ] = False,
    engine: Annotated[EngineChoice, typer.Option(help="What runs the networks.")] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="Of OpenVINO; int8 where it was chosen at the push, as with auto."),
    ] = "auto",
    batch_threads: Annotated[
        int, typer.Option(help="Batches computed at once; 0 for one a core.")
    ] = 0,
    max_body_bytes: Annotated[
        int, typer.Option(help="Of a request; more is refused with 413.")
    ] = _DEFAULT.body_bytes,
    max_held_bytes: Annotated[
        int, typer.Option(help="Of all requests at once; beyond it, 429.")
    ] = _DEFAULT.held_bytes,
    max_batch_size: Annotated[int, typer.Option(help="Images of a request.")] = _DEFAULT.batch_size,
    max_pixels: Annotated[int, typer.Option(help="Of an image.")] = _DEFAULT.pixels,
    max_queue: Annotated[
        int, typer.Option(help="Requests that may wait; the next gets 429.")
    ] = _DEFAULT.queue,
    request_timeout_seconds: Annotated[
        float, typer.Option(help="For an answer.")
    ] = _DEFAULT.request_seconds,
    read_timeout_seconds: Annotated[
        float, typer.Option(help="Without a byte from a client that is still sending.")
    ] = _DEFAULT.read_seconds,
    bits_stored: BitsStored = None,
    dicom_window: DicomWindow = 1,
    dicom_percentile: DicomPercentile = None,
    shutdown_timeout_seconds: Annotated[
        float, typer.Option(help="For requests to end, after SIGTERM.")
    ] = 30.0,
    metrics_path: Annotated[
        str, typer.Option(help="For Prometheus; empty for none.")
    ] = METRICS_PATH,
    network_cache: NetworkCache = None,
) -> None:
    """Serve pushed models over TensorFlow Serving's REST and gRPC APIs."""
    settings = Settings(
        model_dir=model_dir,
        config_file=model_config_file,
        host=host,
        port=port,
        grpc_port=grpc_port,
        config_poll_s=model_config_file_poll_wait_seconds,
        file_poll_s=file_system_poll_wait_seconds,
        labels_for_unavailable=allow_version_labels_for_unavailable_models,
        engine=engine,
        precision=precision,
        batch_threads=batch_threads,
        shutdown_s=shutdown_timeout_seconds,
        metrics_path=metrics_path or None,
        network_cache=cache_folder(network_cache),
        limits=Limits(
            body_bytes=max_body_bytes,
            held_bytes=max_held_bytes,
            batch_size=max_batch_size,
            pixels=max_pixels,
            queue=max_queue,
            request_seconds=request_timeout_seconds,
            read_seconds=read_timeout_seconds,
            bits_stored=bits_stored or 0,
            rendering=Rendering(dicom_window, dicom_percentile or 0.0),
        ),
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # Once TensorFlow has saved a SavedModel, absl's messages have the level that was set here, and
    # not the root's: it is WARNING where nobody set any (seen with TensorFlow 2.16).
    absl.logging.set_verbosity(absl.logging.INFO)
    _prepare()
    from serving.server.run import start

    start(settings)


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or DICOM files, or folders of them.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Server to ask, such as http://127.0.0.1:8501; else in this process."),
    ] = None,
    model_dir: Annotated[Path, typer.Option(help="The run's serving folder.")] = Path(
        "output/serving"
    ),
    model: Annotated[str, typer.Option(help="A backbone's name, or champion.")] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and no table.")] = False,
    bits_stored: BitsStored = None,
    dicom_window: DicomWindow = 1,
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
            "files."
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
) -> None:
    """Classify images with a pushed model: a server's, or in this process."""
    from rich.progress import track

    from common.console import open_console
    from serving.prediction import Prediction, files_in, print_results, raise_for

    files = files_in(images)
    if table is not None and (explain is not None or dicom_out is not None):
        raise InputError(
            "table: a heat map shows what the image says; leave --explain and --dicom-out out."
        )
    rendering = Rendering(dicom_window, dicom_percentile or 0.0)
    pictures = {}
    if explain is not None:
        from serving.explained import plan, write_pictures

        pictures = plan(images, files, explain)
    with_heat_maps = bool(pictures) or dicom_out is not None
    if dicom_out is not None:
        from serving.dicom_results.files import require_dicom, write_results
        from serving.dicom_results.identity import algorithm_of
        from serving.explained import overlay
        from serving.local_client import latest_version

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
        client = Client(url, model, rendering=rendering, table=make)
        answers = client.predict_files(files, explain=bool(pictures))
    else:
        from models.table_values import read_columns
        from serving.local_client import latest_version, predict_files

        columns = read_columns(latest_version(model_dir, model))
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
        answers = write_results(
            answers, dicom_out, algorithm, partial(overlay, rendering=rendering)
        )
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
            typer.echo(f"reports and heat maps in {dicom_out}: not for diagnosis")
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


def export_openvino(
    output: Annotated[Path, typer.Option(help="Folder for OpenVINO Model Server to serve.")],
    model_dir: Annotated[Path, typer.Option(help="The run's serving folder.")] = Path(
        "output/serving"
    ),
) -> None:
    """Write the networks of pushed models as OpenVINO IR, for OpenVINO Model Server."""
    _prepare()
    from serving.openvino_export import NotExported, export_models, raise_for

    results = []
    for result in export_models(model_dir, output):
        results.append(result)
        if not isinstance(result, NotExported):
            typer.echo(f"{result.model}: {result.folder}{'' if result.new else ' (unchanged)'}")
    raise_for(results)


def cache_folder(given: str | None) -> Path | None:
    """Return the folder that `--network-cache` means; None for none."""
    if given is None:
        from serving.networks.cache_folder import default_folder

        return default_folder()
    return Path(given) if given else None


def _prepare() -> None:
    """Prepare what has to be set before TensorFlow is imported."""
    from common.runtime import prepare_environment

    prepare_environment()
