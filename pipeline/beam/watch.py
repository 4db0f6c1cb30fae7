"""Has a run notice that a worker of its pool died, where the runner waits for it for ever.

Beam's own job service does (2.74): it waits for the answer of a process that is gone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from pipeline.beam.reach import Services, ask_pool, workers_of

_SECONDS_BETWEEN: Final = 2.0
# For the runner to fail by itself, or to start another worker.
_SECONDS_OF_GRACE: Final = 20.0


class WorkerGoneError(RuntimeError):
    """A worker or its pool went, and the runner did nothing about it."""


@contextlib.contextmanager
def watching(services: Services | None, grace: float = _SECONDS_OF_GRACE) -> Iterator[None]:
    """Watch the pool whenever something waits for a job, while the block lasts.

    Args:
        services: of the run; without a pool that can be asked, nothing is watched.
        grace: seconds between a death and the end of the wait.
    """
    if services is None or services.pool is None:
        yield
        return
    from apache_beam.runners.portability.portable_runner import PipelineResult

    wait = PipelineResult.wait_until_finish
    pool = _Pool(services.pool, services, grace)

    def wait_watching(result: Any, duration: int | None = None) -> Any:
        return _wait(lambda: wait(result, duration), result, pool)

    PipelineResult.wait_until_finish = wait_watching
    try:
        yield
    finally:
        PipelineResult.wait_until_finish = wait


class _Pool:
    """Notices what is wrong with a pool, and since when."""

    def __init__(self, address: str, services: Services, grace: float) -> None:
        self._address = address
        self._workers = services.workers
        self._grace = grace
        self._wrong_since: float | None = None

    def problem(self) -> str:
        """Say what is wrong; empty where all is well, or may become so."""
        wrong = self._wrong()
        if not wrong:
            self._wrong_since = None
            return ""
        self._wrong_since = self._wrong_since or time.monotonic()
        return wrong if time.monotonic() - self._wrong_since >= self._grace else ""

    def _wrong(self) -> str:
        if problem := ask_pool(self._address):
            return f"the worker pool at {self._address} went: {problem}"
        before, now = self._workers, workers_of(self._address)
        if before is None or now is None:
            return ""
        if now.pool != before.pool:
            return f"another worker pool is at {self._address}"
        if now.lost_since(before) is not None:
            return f"a worker of the pool at {self._address} died"
        return ""


def _wait(wait: Callable[[], Any], result: Any, pool: _Pool) -> Any:
    """Return what `wait` gives, or raise what it raises; but don't wait for ever."""
    ended: dict[str, Any] = {}

    def run() -> None:
        try:
            ended["state"] = wait()
        except BaseException as error:
            ended["error"] = error

    thread = threading.Thread(target=run, name="wait for the job", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_SECONDS_BETWEEN)
        problem = pool.problem() if thread.is_alive() else ""
        if problem:
            # Its answer may never come.
            threading.Thread(target=_cancel, args=(result,), daemon=True).start()
            raise WorkerGoneError(problem)
    if "error" in ended:
        raise ended["error"]
    return ended["state"]


def _cancel(result: Any) -> None:
    with contextlib.suppress(Exception):
        result.cancel()
