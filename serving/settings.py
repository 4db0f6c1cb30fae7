"""The settings of a server. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from models.rendering import AS_LEARNED, AskedRendering
from schema import contract
from serving.prediction_log.settings import LogSettings

EngineChoice = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "int8", "bf16", "f32"]
LOOPBACK: Final = "127.0.0.1"
# Where TensorFlow Serving's Prometheus metrics are unless told otherwise.
METRICS_PATH: Final = "/monitoring/prometheus/metrics"
# This server's own, beside TensorFlow Serving's: + a model's name.
RENDERING_PATH: Final = "/cxr/rendering/"


@dataclass(frozen=True)
class Limits:
    """Bounds, beyond which a request is refused.

    Attributes:
        body_bytes: of an HTTP body or a gRPC message.
        held_bytes: of all HTTP bodies that are being read or waited on; one that would go
            beyond is told to come again later.
        batch_size: rows of a request.
        pixels: of an image, by what its header claims; it is refused undecoded.
        queue: requests that wait for a thread; one more is told to come again later.
        request_seconds: from the last byte of a request on.
        read_seconds: without a byte of a request, or of an answer being taken.
        keep_alive_seconds: that a connection stays open without a request, once there was one.
        bits_stored: 9..15, of the detector: unscaled 16-bit images are scaled by it, as in
            training; they are refused where 0.
    """

    body_bytes: int = 64 * 2**20
    held_bytes: int = 1024 * 2**20
    batch_size: int = 256
    pixels: int = contract.MAX_PIXELS
    queue: int = 256
    request_seconds: float = 60.0
    read_seconds: float = 30.0
    # Longer than the pools of clients and proxies keep theirs: those close first.
    keep_alive_seconds: float = 120.0
    bits_stored: int = 0


@dataclass(frozen=True)
class DoorSettings:
    """The doors of a server.

    Attributes:
        ssl_config_file: TensorFlow Serving's SSLConfig; None for no TLS.
        token_file: of bearer tokens; None for none.
        audit_file: for a line a request; None for the log, or nowhere on a loopback address.
        client_requests: that one client may have under way; 0 for any number, None for the
            default.
        without_tls: serve other addresses than loopback's without TLS.
        without_authentication: serve them whoever asks.
    """

    ssl_config_file: Path | None = None
    token_file: Path | None = None
    audit_file: Path | None = None
    client_requests: int | None = None
    without_tls: bool = False
    without_authentication: bool = False


@dataclass(frozen=True)
class Settings:
    """The settings of a server: what is served, where and how.

    Attributes:
        model_dir: folder of models, each with numbered versions; or
        config_file: TensorFlow Serving's models.config.
        host: address to listen on.
        port: of REST; 0 for none.
        grpc_port: of gRPC; 0 for none.
        config_poll_s: seconds between looks at the config file; 0 to look once.
        file_poll_s: seconds between looks for new versions; 0 to look once.
        labels_for_unavailable: accept labels of versions that aren't loaded.
        engine: what runs the networks.
        precision: of OpenVINO.
        batch_threads: batches computed at once; as many as there are cores where 0.
        shutdown_s: for requests to end, after SIGTERM.
        metrics_path: for Prometheus; None for none.
        cors: whether pages of other origins may ask.
        warm_up: whether a version answers the requests beside it before any client's.
        warm_up_rounds: how often it answers each.
        network_cache: folder for converted networks; None to convert them at each start.
        signed_by: public keys in PEM, one of which must have signed a version; any version is
            served where there is none.
        rendering: of DICOM, where it isn't to be as each model learned.
        limits: of requests.
        prediction_log: what is logged of them.
        doors: who may ask.
    """

    model_dir: Path | None = None
    config_file: Path | None = None
    host: str = LOOPBACK
    port: int = 8501
    grpc_port: int = 8500
    config_poll_s: float = 0.0
    file_poll_s: float = 1.0
    labels_for_unavailable: bool = False
    engine: EngineChoice = "auto"
    precision: Precision = "auto"
    batch_threads: int = 0
    shutdown_s: float = 30.0
    metrics_path: str | None = METRICS_PATH
    cors: bool = False
    warm_up: bool = True
    warm_up_rounds: int = 1
    network_cache: Path | None = None
    signed_by: tuple[Path, ...] = ()
    rendering: AskedRendering = AS_LEARNED
    limits: Limits = field(default_factory=Limits)
    prediction_log: LogSettings = field(default_factory=LogSettings)
    doors: DoorSettings = field(default_factory=DoorSettings)
