"""The settings of the prediction log. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.errors import InputError
from schema import contract


@dataclass(frozen=True)
class LogTarget:
    """TensorFlow Serving's LoggingConfig: the place of a model's log, and its share of requests.

    Attributes:
        prefix: of the shards' paths, absolute: `PREFIX-TIME-WRITER-NUMBER.tfrecord`.
        rate: 0..1, the share of the requests that are logged.
    """

    prefix: Path
    rate: float = 1.0


@dataclass(frozen=True)
class LogSettings:
    """The content of the log, and its bounds.

    Attributes:
        target: of all models of `--model-dir`; None where models.config says, or nothing is logged.
        pixels: keep images; else their SHA-256 stands in their place.
        columns: further texts of a request that are kept; others are left out, since they may
            name a person.
        statistics_per_second: images whose grey levels are measured, on average; 0 for none.
        seed: of the draw; None for another one at each start.
        shard_bytes: beyond which a shard doesn't go, unless it holds a single record.
        shard_seconds: likewise.
        total_bytes: of all shards with one prefix; beyond, the oldest are removed.
        queued_records: that may wait to be written; one more is dropped.
        queued_bytes: of what waits, likewise.
        retry_seconds: after which a disk that failed is tried again.
    """

    target: LogTarget | None = None
    pixels: bool = False
    columns: frozenset[str] = frozenset()
    statistics_per_second: float = 1.0
    seed: int | None = None
    shard_bytes: int = 64 * 2**20
    shard_seconds: float = 3600.0
    total_bytes: int = 4 * 2**30
    queued_records: int = 1024
    queued_bytes: int = 64 * 2**20
    retry_seconds: float = 5.0
    kept_texts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            InputError: a bound that can't be kept.
        """
        if self.target is not None and not 0.0 <= self.target.rate <= 1.0:
            raise InputError(
                f"prediction-log-sampling-rate: {self.target.rate:g} is no share; give 0..1."
            )
        if self.shard_bytes < 1 or self.shard_seconds <= 0:
            raise InputError("prediction-log-shard-bytes and -seconds: give more than 0.")
        if self.total_bytes < 2 * self.shard_bytes:
            raise InputError(
                f"prediction-log-max-bytes: {self.total_bytes} is less than two shards of "
                f"{self.shard_bytes}; raise it, or lower prediction-log-shard-bytes."
            )
        if self.statistics_per_second < 0:
            raise InputError("prediction-log-statistics: give 0 or more images a second.")
        # Also by their feature's name in a tf.Example.
        places = ("table/", contract.COLUMN_PREFIX)
        prefixed = {f"{place}{name}" for name in self.columns for place in places}
        object.__setattr__(self, "kept_texts", self.columns | prefixed)


# How shards begin in the folder of `--prediction-log-dir`.
_PREFIX: Final = "predictions"


def log_target(folder: Path | None, rate: float) -> LogTarget | None:
    """Make the folder of a log, and say where its shards go; None for no log.

    Args:
        folder: of the log.
        rate: 0..1, the share of the requests that are logged.

    Raises:
        InputError: it can't be made.
    """
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"prediction-log-dir: {folder} can't be made: {error}.") from error
    return LogTarget(folder.resolve() / _PREFIX, rate)
