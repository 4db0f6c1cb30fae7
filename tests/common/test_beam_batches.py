"""How many records TFX's nodes take at a time."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import pytest
from absl import flags
from tfx_bsl.coders import batch_util

from common.beam_batches import MOST_RECORDS, bound_batches
from common.in_process_beam import in_process


@pytest.fixture
def by_bytes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets the flag that the pipeline's Beam options set, and tfx_bsl's number as it was before."""
    monkeypatch.setattr(batch_util, "_BATCH_SIZE_CAP_WITH_BYTE_TARGET", 8192)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    before = flags.FLAGS.tfxio_use_byte_size_batching
    flags.FLAGS.tfxio_use_byte_size_batching = True
    yield
    flags.FLAGS.tfxio_use_byte_size_batching = before


@pytest.mark.parametrize(
    ("size", "most"),
    [(1, MOST_RECORDS), (60_000, MOST_RECORDS), (1 << 20, 20)],
)
def test_a_batch_has_few_records_and_few_bytes(by_bytes: None, size: int, most: int) -> None:
    bound_batches()
    sizes: list[int] = []
    record = bytes(size)
    with in_process(beam.Pipeline()) as pipeline:
        _ = (
            pipeline
            | beam.Create([2 * most + 1], reshuffle=False)
            | beam.FlatMap(lambda count: [record] * count)
            | beam.BatchElements(**batch_util.GetBatchElementsKwargs(None))
            | beam.Map(lambda batch: sizes.append(len(batch)))
        )
    assert sorted(sizes, reverse=True) == [most, most, 1]


def test_a_smaller_number_stays(by_bytes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_util, "_BATCH_SIZE_CAP_WITH_BYTE_TARGET", 100)
    bound_batches()
    assert batch_util._BATCH_SIZE_CAP_WITH_BYTE_TARGET == 100
