"""`cxr serve`. Where TensorFlow Serving has a flag, it has that flag's name here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import absl.logging
import typer

from models.rendering import AskedRendering
from serving.commands.options import (
    BitsStored,
    DicomPercentile,
    DicomWindow,
    NetworkCache,
    cache_folder,
    prepare,
)
from serving.prediction_log.settings import LogSettings, log_target
from serving.settings import (
    LOOPBACK,
    METRICS_PATH,
    DoorSettings,
    EngineChoice,
    Limits,
    Precision,
    Settings,
)

_DEFAULT = Limits()
_LOG = LogSettings()


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
    keep_alive_timeout_seconds: Annotated[
        float, typer.Option(min=1, help="For a connection between two requests.")
    ] = _DEFAULT.keep_alive_seconds,
    bits_stored: BitsStored = None,
    dicom_window: DicomWindow = None,
    dicom_percentile: DicomPercentile = None,
    shutdown_timeout_seconds: Annotated[
        float, typer.Option(help="For requests to end, after SIGTERM.")
    ] = 30.0,
    metrics_path: Annotated[
        str, typer.Option(help="For Prometheus; empty for none.")
    ] = METRICS_PATH,
    rest_api_enable_cors_support: Annotated[
        bool,
        typer.Option(
            "--rest-api-enable-cors-support", help="Let pages of other origins use the REST API."
        ),
    ] = False,
    enable_model_warmup: Annotated[
        bool, typer.Option(help="Answer a version's own warm-up requests before any client's.")
    ] = True,
    num_request_iterations_for_warmup: Annotated[
        int, typer.Option(min=1, help="How often each of them.")
    ] = 1,
    network_cache: NetworkCache = None,
    require_signature: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public key in PEM: serve only versions that it has signed. Several may be given; "
            "one of them must have signed.",
        ),
    ] = None,
    prediction_log_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for a log of requests and answers, with --model-dir."),
    ] = None,
    prediction_log_sampling_rate: Annotated[
        float, typer.Option(help="Share of the requests that are logged there, 0..1.")
    ] = 1.0,
    prediction_log_pixels: Annotated[
        bool, typer.Option("--prediction-log-pixels", help="Log images, not only their SHA-256.")
    ] = False,
    prediction_log_columns: Annotated[
        str,
        typer.Option(help="Text columns of requests to log, comma-separated; others are left out."),
    ] = "",
    prediction_log_statistics: Annotated[
        float, typer.Option(help="Images a second whose grey levels are measured; 0 for none.")
    ] = _LOG.statistics_per_second,
    prediction_log_seed: Annotated[int | None, typer.Option(help="Of the draw.")] = None,
    prediction_log_shard_bytes: Annotated[
        int, typer.Option(help="Of a shard; then the next begins.")
    ] = _LOG.shard_bytes,
    prediction_log_shard_seconds: Annotated[
        float, typer.Option(help="After which a shard is closed.")
    ] = _LOG.shard_seconds,
    prediction_log_max_bytes: Annotated[
        int, typer.Option(help="Of all shards; beyond, the oldest are removed.")
    ] = _LOG.total_bytes,
    ssl_config_file: Annotated[
        Path | None, typer.Option(help="TensorFlow Serving's SSLConfig, for REST and gRPC.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Of who may ask: a line each, NAME TOKEN.")
    ] = None,
    audit_file: Annotated[
        Path | None,
        typer.Option(help="A line a request goes there; on other addresses, else to the log."),
    ] = None,
    max_client_requests: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of one client under way; the next gets 429. 0 for any number.",
            show_default="64; any number on a loopback address",
        ),
    ] = None,
    insecure_without_tls: Annotated[
        bool,
        typer.Option(
            "--insecure-without-tls", help="Serve another --host than loopback without TLS."
        ),
    ] = False,
    insecure_without_authentication: Annotated[
        bool,
        typer.Option(
            "--insecure-without-authentication", help="Serve another --host whoever asks."
        ),
    ] = False,
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
        cors=rest_api_enable_cors_support,
        warm_up=enable_model_warmup,
        warm_up_rounds=num_request_iterations_for_warmup,
        network_cache=cache_folder(network_cache),
        signed_by=tuple(require_signature or ()),
        rendering=AskedRendering(dicom_window, dicom_percentile),
        limits=Limits(
            body_bytes=max_body_bytes,
            held_bytes=max_held_bytes,
            batch_size=max_batch_size,
            pixels=max_pixels,
            queue=max_queue,
            request_seconds=request_timeout_seconds,
            read_seconds=read_timeout_seconds,
            keep_alive_seconds=keep_alive_timeout_seconds,
            bits_stored=bits_stored or 0,
        ),
        prediction_log=LogSettings(
            target=log_target(prediction_log_dir, prediction_log_sampling_rate),
            pixels=prediction_log_pixels,
            columns=frozenset(filter(None, map(str.strip, prediction_log_columns.split(",")))),
            statistics_per_second=prediction_log_statistics,
            seed=prediction_log_seed,
            shard_bytes=prediction_log_shard_bytes,
            shard_seconds=prediction_log_shard_seconds,
            total_bytes=prediction_log_max_bytes,
        ),
        doors=DoorSettings(
            ssl_config_file,
            token_file,
            audit_file,
            max_client_requests,
            insecure_without_tls,
            insecure_without_authentication,
        ),
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # Once TensorFlow has saved a SavedModel, absl's messages have the level that was set here, and
    # not the root's: it is WARNING where nobody set any (seen with TensorFlow 2.16).
    absl.logging.set_verbosity(absl.logging.INFO)
    prepare()
    from serving.server.run import start

    start(settings)
