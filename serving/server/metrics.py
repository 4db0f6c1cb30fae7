"""The metrics that Prometheus can scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.core.manager import State, VersionStatus
from serving.core.service import Service
from serving.core.shadows import OUTCOMES
from serving.prediction_log.log import PredictionLog
from serving.protocol.paths import ModelRef
from serving.server.answer_metrics import AnswerMetrics
from serving.signing.loading import RefusedError

# Seconds; from a cached answer to a queue of large images.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# A name that isn't served doesn't get a time series of its own: names come from clients.
_UNKNOWN_MODEL: Final = ""


class Metrics:
    """Counters and histograms of one server.

    Attributes:
        content_type: of `text`.
    """

    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, service: Service, log: PredictionLog) -> None:
        """Register the metrics, and look on at what is answered from now on.

        Args:
            service: that answers.
            log: of its answers.
        """
        self._service = service
        self._registry = CollectorRegistry()
        labels = ("model", "api", "method", "status")
        self._requests = Counter(
            "cxr_serving_requests", "Requests answered.", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "cxr_serving_request_seconds",
            "From the end of a request's body to its answer.",
            ("model", "api", "method"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "cxr_serving_batch_rows",
            "Rows that were computed together.",
            buckets=_ROWS,
            registry=self._registry,
        )
        service.batcher.on_batch = self._batches.observe
        service.observers.append(AnswerMetrics(self._registry))
        self._registry.register(_State(service))
        self._registry.register(_LogState(log))

    def answered(self, model: str, api: str, method: str, status: str, seconds: float) -> None:
        """Count a request.

        Args:
            model: that was asked for.
            api: `rest` or `grpc`.
            method: such as `predict`.
            status: canonical code, such as `OK`.
            seconds: that the answer took.
        """
        known = model if model in self._service.manager.names() else _UNKNOWN_MODEL
        self._requests.labels(known, api, method, status).inc()
        self._seconds.labels(known, api, method).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))


class _State(Collector):
    """The metrics that are read when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        queued = GaugeMetricFamily("cxr_serving_queued_requests", "Requests that wait.")
        queued.add_metric([], self._service.batcher.queued)
        yield queued
        versions = GaugeMetricFamily(
            "cxr_serving_model_available",
            "1 for a version that answers, 0 for one that can't be loaded or is gone.",
            labels=("model", "version"),
        )
        engines = GaugeMetricFamily(
            "cxr_serving_model_info",
            "1 for a version in memory, with the engine that runs it.",
            labels=("model", "version", "engine"),
        )
        refused = GaugeMetricFamily(
            "cxr_serving_signature_refused",
            "1 for a version that isn't loaded since no trusted key has signed it as it is.",
            labels=("model", "version"),
        )
        manager = self._service.manager
        for name in manager.names():
            for status in _versions(self._service, name):
                available = float(status.state == State.AVAILABLE)
                versions.add_metric([name, str(status.version)], available)
                if isinstance(status.error, RefusedError):
                    refused.add_metric([name, str(status.version)], 1.0)
                if status.engine:
                    engines.add_metric([name, str(status.version), status.engine], 1.0)
        yield versions
        yield engines
        yield refused
        shadows = CounterMetricFamily(
            "cxr_serving_shadow_requests",
            "Requests that a version on trial was asked, too, by what came of it.",
            labels=("model", "outcome"),
        )
        counts = self._service.shadows.counts()
        for name in manager.names():
            for outcome in OUTCOMES:
                shadows.add_metric([name, outcome], counts.get((name, outcome), 0))
        yield shadows


class _LogState(Collector):
    """The counters of the prediction log."""

    def __init__(self, log: PredictionLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """Yield the counters."""
        yield CounterMetricFamily(
            "cxr_serving_prediction_log_written", "Records on the disk.", value=self._log.written
        )
        dropped = CounterMetricFamily(
            "cxr_serving_prediction_log_dropped",
            "Records that were drawn and not written: the queue was full, the disk took none, or "
            "the record couldn't be put together.",
            labels=("reason",),
        )
        for reason, count in self._log.dropped().items():
            dropped.add_metric([reason], count)
        yield dropped
        yield GaugeMetricFamily(
            "cxr_serving_prediction_log_waiting", "Records in the queue.", value=self._log.waiting
        )
        yield CounterMetricFamily(
            "cxr_serving_prediction_log_removed_shards",
            "Shards that had to go for the bound in all.",
            value=self._log.removed,
        )


def _versions(service: Service, name: str) -> list[VersionStatus]:
    from serving.protocol.status import ServingError

    try:
        return service.manager.status(ModelRef(name))
    except ServingError:  # not loaded yet
        return []
