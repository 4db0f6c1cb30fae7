"""Starts the server, keeps its models up to date, and ends it without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import grpc.aio
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError
from serving.core.batching import Batcher
from serving.core.manager import Manager
from serving.core.model_config import ModelConfig, models_in, read_config
from serving.core.service import Service
from serving.doors.grpc_doors import GrpcDoors
from serving.doors.keeper import Keeper
from serving.doors.rest import guarded
from serving.doors.tls import grpc_credentials, rest_context
from serving.networks.cache_folder import require_private
from serving.networks.store import Store
from serving.networks.versions import Networks
from serving.prediction_log.log import PredictionLog
from serving.protocol.status import ServingError
from serving.servables.loading import load_servable
from serving.servables.servable import Servable
from serving.server.connections import QuietServer, protocol_class
from serving.server.grpc_api import grpc_server
from serving.server.metrics import Metrics
from serving.server.rest import rest_app
from serving.settings import Settings
from serving.signing.keys import read_public_key
from serving.signing.loading import load_signed
from serving.warm_up import warm_up

LOGGER: Final = logging.getLogger("cxr.serving")
# A batch that is put together; beyond it, nothing is gained on a CPU.
_BATCH_ROWS: Final = 32
# Models that are loaded at once: beyond, they wait for Python, and for the disk.
_MOST_SIDE_BY_SIDE: Final = 4


def models_of(settings: Settings) -> Mapping[str, ModelConfig]:
    """Return what is to be served now.

    Raises:
        InputError: neither or both of model folder and configuration file, or they can't be read;
            a place for a log beside a configuration file, which says so itself.
    """
    if (settings.model_dir is None) == (settings.config_file is None):
        raise InputError("give either --model-dir or --model-config-file.")
    logged = settings.prediction_log.target
    if settings.config_file is not None:
        if logged is not None:
            raise InputError(
                "prediction-log-dir goes with --model-dir; in "
                f"{settings.config_file}, give each model its logging_config."
            )
        return read_config(settings.config_file)
    assert settings.model_dir is not None
    return models_in(settings.model_dir, logged)


def start(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: wrong settings, or a port that is taken.
    """
    models = models_of(settings)
    keeper = Keeper(settings.doors, settings.host)
    trusted = [read_public_key(path) for path in settings.signed_by]
    if trusted and settings.network_cache is not None:
        require_private(settings.network_cache)
    asyncio.run(_serve(settings, models, keeper, trusted))


async def _serve(
    settings: Settings,
    models: Mapping[str, ModelConfig],
    keeper: Keeper,
    trusted: Sequence[ec.EllipticCurvePublicKey],
) -> None:
    cores = os.cpu_count() or 1
    networks = Networks(None if settings.network_cache is None else Store(settings.network_cache))
    manager = Manager(
        lambda path: _loaded(path, settings, networks, trusted),
        labels_for_unavailable=settings.labels_for_unavailable,
        side_by_side=min(cores, _MOST_SIDE_BY_SIDE),
    )
    threads = settings.batch_threads or cores
    batcher = Batcher(threads, _BATCH_ROWS, settings.limits.queue)
    service = Service(manager, batcher, settings.limits)
    log = PredictionLog(settings.prediction_log)
    service.observers.append(log)
    metrics = Metrics(service, log)
    manager.configure(models)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = []
    rest = _rest_server(settings, service, metrics, keeper)
    grpc_api = grpc_server(service, metrics, [GrpcDoors(keeper, manager.names)])
    try:
        if settings.grpc_port:
            _bind_grpc(grpc_api, settings, keeper)
            await grpc_api.start()
        if settings.port:
            tasks.append(asyncio.create_task(_run_rest(rest, stop)))
        tasks.append(asyncio.create_task(_keep_up_to_date(settings, manager, stop)))
        await stop.wait()
        LOGGER.info("shutting down: no new requests, %d wait", batcher.queued)
    finally:
        rest.should_exit = True
        await grpc_api.stop(settings.shutdown_s)
        await _ended(tasks)
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(log.close, settings.shutdown_s)
        LOGGER.info("stopped")


def _loaded(
    path: Path,
    settings: Settings,
    networks: Networks,
    trusted: Sequence[ec.EllipticCurvePublicKey],
) -> Servable:
    def load(folder: Path) -> Servable:
        servable = load_servable(
            folder, settings.engine, settings.precision, networks, settings.rendering
        )
        if settings.warm_up:
            warm_up(servable, folder, settings.warm_up_rounds)
        return servable

    return load_signed(path, trusted, load) if trusted else load(path)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for REST, and stop looking for new versions."""
    if tasks:
        tasks[-1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, InputError):
            raise result


def _rest_server(
    settings: Settings, service: Service, metrics: Metrics, keeper: Keeper
) -> uvicorn.Server:
    app = rest_app(service, metrics, settings.metrics_path, cors=settings.cors)
    config = uvicorn.Config(
        guarded(app, keeper),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=protocol_class(settings.limits.read_seconds),
        timeout_keep_alive=round(settings.limits.keep_alive_seconds),
        timeout_graceful_shutdown=round(settings.shutdown_s),
        h11_max_incomplete_event_size=64 * 1024,
    )
    if keeper.tls is not None:
        config.load()
        config.ssl = rest_context(keeper.tls)
    return QuietServer(config)


async def _run_rest(server: uvicorn.Server, stop: asyncio.Event) -> None:
    try:
        await server.serve()
    except SystemExit as error:  # how uvicorn says that it can't listen
        raise InputError(f"port {server.config.port} of {server.config.host} is taken.") from error
    finally:
        stop.set()


def _bind_grpc(server: grpc.aio.Server, settings: Settings, keeper: Keeper) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        address = f"{host}:{settings.grpc_port}"
        if keeper.tls is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, grpc_credentials(keeper.tls))
    except RuntimeError as error:
        raise InputError(f"grpc-port {settings.grpc_port} of {host} is taken.") from error
    if not bound:
        raise InputError(f"grpc-port {settings.grpc_port} of {host} is taken.")


async def _keep_up_to_date(settings: Settings, manager: Manager, stop: asyncio.Event) -> None:
    """Load what is there, and then whatever comes, goes or changes."""
    try:
        await _reconcile_for_ever(settings, manager)
    except Exception:
        # A server that takes no new versions any more would go unnoticed.
        LOGGER.exception("looking for new versions failed; the server ends")
        stop.set()


async def _reconcile_for_ever(settings: Settings, manager: Manager) -> None:
    await asyncio.to_thread(manager.reconcile)
    LOGGER.info("serving %s", ", ".join(manager.names()) or "nothing yet")
    while settings.file_poll_s or settings.config_poll_s:
        pauses = [pause for pause in (settings.file_poll_s, settings.config_poll_s) if pause]
        await asyncio.sleep(min(pauses))
        if settings.config_file is None or settings.config_poll_s:
            _reconfigure(settings, manager)
        if settings.file_poll_s:
            await asyncio.to_thread(manager.reconcile)


def _reconfigure(settings: Settings, manager: Manager) -> None:
    """Read the configuration again; one that can't be read changes nothing."""
    try:
        manager.configure(models_of(settings))
    except (InputError, ServingError) as error:
        LOGGER.error("the old configuration is kept: %s", error)
