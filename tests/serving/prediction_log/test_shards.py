"""Shards: closed by size and age, bounded in all, readable up to a tear."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import prediction_log_pb2

from common.errors import InputError
from serving.prediction_log.reading import Reading, find_shards, read_shards
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.prediction_log.shards import Shards


class Clock:
    """Seconds since the epoch, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def _record(version: int, padding: int = 0) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.model_spec.name = "lungs"
    log.log_metadata.model_spec.version.value = version
    log.predict_log.request.output_filter.append("x" * padding)
    return bytes(log.SerializeToString())


def _versions(place: Path, reading: Reading | None = None) -> list[int]:
    reading = reading or Reading()
    found = read_shards(find_shards(place), reading)
    return [log.log_metadata.model_spec.version.value for _, log in found]


def test_a_shard_is_closed_by_size(tmp_path: Path) -> None:
    shards = Shards(tmp_path / "log", LogSettings(shard_bytes=300, total_bytes=10_000))
    for version in range(7):
        shards.write(_record(version, 100))
    shards.close()
    # Two a shard.
    assert len(list(tmp_path.glob("log-*.tfrecord"))) == 4
    assert _versions(tmp_path) == list(range(7))


@pytest.mark.parametrize("jump", [61.0, -7200.0])
def test_a_shard_is_closed_by_age_whatever_the_clock_does(tmp_path: Path, jump: float) -> None:
    clock = Clock()
    shards = Shards(tmp_path / "log", LogSettings(shard_seconds=60), clock)
    shards.write(_record(1))
    shards.close_if_old()
    assert [path.suffix for path in tmp_path.iterdir()] == [".open"]
    clock.now += jump
    shards.close_if_old()
    assert [path.suffix for path in tmp_path.iterdir()] == [".tfrecord"]


def test_the_oldest_go_for_the_bound_in_all(tmp_path: Path) -> None:
    shards = Shards(tmp_path / "log", LogSettings(shard_bytes=300, total_bytes=1200))
    (tmp_path / "other-file.tfrecord").write_bytes(b"not of this log")
    most = 0
    for version in range(40):
        shards.write(_record(version, 100))
        shards.flush()
        sizes = [path.stat().st_size for path in tmp_path.glob("log-*")]
        most = max(most, sum(sizes))
    shards.close()
    assert 900 < most <= 1200
    assert shards.removed > 5
    # What isn't this log's stays.
    (tmp_path / "other-file.tfrecord").unlink()
    versions = _versions(tmp_path)
    # The newest, without a gap.
    assert versions == list(range(versions[0], 40))


def test_an_open_shard_of_a_server_that_lives_stays(tmp_path: Path) -> None:
    bounds = LogSettings(shard_bytes=300, total_bytes=600)
    other = Shards(tmp_path / "log", bounds)
    other.write(_record(0, 100))
    other.flush()
    shards = Shards(tmp_path / "log", bounds)
    for version in range(1, 20):
        shards.write(_record(version, 100))
    other.close()
    assert 0 in _versions(tmp_path)


def test_an_open_shard_that_was_left_by_a_kill_is_read_and_goes_in_its_turn(
    tmp_path: Path,
) -> None:
    bounds = LogSettings(shard_bytes=300, total_bytes=600, shard_seconds=60)
    killed = Shards(tmp_path / "log", bounds)
    killed.write(_record(99, 100))
    killed.flush()
    (left,) = tmp_path.glob("*.open")
    assert _versions(tmp_path) == [99]
    os.utime(left, (1_700_000_000, 1_700_000_000))
    shards = Shards(tmp_path / "log", bounds)
    for version in range(8):
        shards.write(_record(version, 100))
    assert not left.exists()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, 5 * (len(_record(1, 50)) + 16)))
def test_a_torn_shard_is_read_up_to_the_tear(tmp_path: Path, cut: int) -> None:
    size = len(_record(1, 50)) + 16
    path = tmp_path / "torn.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for version in range(1, 6):
            writer.write(_record(version, 50))
    os.truncate(path, cut)
    reading = Reading()
    whole = cut // size
    assert _versions(path, reading) == list(range(1, whole + 1))
    assert reading.torn == ({} if cut == whole * size else {"torn.tfrecord": whole})


def test_a_flipped_bit_ends_a_shard_and_not_the_next(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as writer:
            for version in (1, 2):
                writer.write(_record(version))
    content = bytearray((tmp_path / "a.tfrecord").read_bytes())
    content[-6] ^= 1
    (tmp_path / "a.tfrecord").write_bytes(content)
    reading = Reading()
    assert _versions(tmp_path, reading) == [1, 1, 2]
    assert reading.torn == {"a.tfrecord": 1}


def test_records_of_another_kind_are_listed(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
        writer.write(b"\xff\xff\xff")
        writer.write(_record(1))
    reading = Reading()
    assert _versions(tmp_path, reading) == [1]
    assert reading.strange == {"a.tfrecord": 2}


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no shard"):
        find_shards(tmp_path)
    with pytest.raises(InputError, match="neither a folder nor a shard"):
        find_shards(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": LogTarget(Path("/x"), 1.5)}, "1.5 is no share"),
        ({"total_bytes": 100}, "less than two shards"),
        ({"shard_seconds": 0}, "more than 0"),
        ({"statistics_per_second": -1}, "0 or more"),
    ],
)
def test_bounds_that_cannot_be_kept_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LogSettings(**wrong)  # type: ignore[arg-type]
