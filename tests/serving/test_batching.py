"""Requests that are computed together, and that don't spoil each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from serving.core.batching import Batcher
from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors
from tests.serving.fakes import Doubler


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(threads=1, max_rows=4, max_queue=6)
    yield made
    made.close()


def _submit(
    batcher: Batcher, servable: Doubler, *rows: float, signature: str = ""
) -> Future[Tensors]:
    return batcher.submit(servable, signature, {"x": np.array(rows)}, seconds=10)


def _held(batcher: Batcher, servable: Doubler) -> Future[Tensors]:
    """A request that keeps the one thread busy until `servable.go`."""
    servable.go.clear()
    first = _submit(batcher, servable, 0.5)
    while batcher.queued:
        time.sleep(0.001)
    return first


def test_what_waits_is_computed_together(batcher: Batcher) -> None:
    servable = Doubler()
    futures = [_held(batcher, servable)]
    futures += [_submit(batcher, servable, float(i), i + 0.25) for i in range(3)]
    servable.go.set()
    answers = [future.result(5)["y"].tolist() for future in futures]
    assert answers == [[1.0], [0.0, 0.5], [2.0, 2.5], [4.0, 4.5]]
    # Four rows at most in a batch.
    assert servable.batches == [1, 4, 2]


def test_a_bad_row_spoils_only_its_own_request(batcher: Batcher) -> None:
    servable = Doubler()
    _held(batcher, servable)
    good, bad, other = (_submit(batcher, servable, x) for x in (1.0, -1.0, 3.0))
    servable.go.set()
    assert good.result(5)["y"].tolist() == [2.0]
    assert other.result(5)["y"].tolist() == [6.0]
    with pytest.raises(ServingError, match="a row of -1"):
        bad.result(5)


def test_other_models_signatures_and_shapes_keep_to_themselves(batcher: Batcher) -> None:
    servable, other = Doubler(), Doubler()
    _held(batcher, servable)
    sums = [_submit(batcher, servable, 1.0, 2.0, signature="sum") for _ in range(2)]
    rows = [_submit(batcher, s, 1.0) for s in (servable, other, servable)]
    servable.go.set()
    # One number for all rows: two requests' rows must not be added up.
    assert [float(f.result(5)["y"]) for f in sums] == [3.0, 3.0]
    assert [f.result(5)["y"].tolist() for f in rows] == [[2.0]] * 3
    assert servable.batches == [1, 2, 2, 2]
    assert other.batches == [1]


def test_a_full_queue_refuses(batcher: Batcher) -> None:
    servable = Doubler()
    _held(batcher, servable)
    futures = [_submit(batcher, servable, 1.0) for _ in range(6)]
    try:
        with pytest.raises(ServingError) as refused:
            _submit(batcher, servable, 1.0)
    finally:
        servable.go.set()
    assert refused.value.http_status == 429
    assert all(f.result(5) for f in futures)


def test_what_nobody_waits_for_is_not_computed(batcher: Batcher) -> None:
    servable = Doubler()
    first = _held(batcher, servable)
    gone = _submit(batcher, servable, 7.0)
    late = batcher.submit(servable, "", {"x": np.array([8.0])}, seconds=0.0)
    assert gone.cancel()
    time.sleep(0.01)
    servable.go.set()
    assert first.result(5)
    with pytest.raises(ServingError) as refused:
        late.result(5)
    assert refused.value.http_status == 504
    assert servable.batches == [1]


def test_closing_answers_what_waits() -> None:
    batcher = Batcher(threads=1, max_rows=4, max_queue=6)
    servable = Doubler()
    futures = [_held(batcher, servable), _submit(batcher, servable, 1.0)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    servable.go.set()
    closing.join(5)
    assert not closing.is_alive()
    assert all(f.done() for f in futures)
    with pytest.raises(ServingError, match="shutting down"):
        _submit(batcher, servable, 1.0)
