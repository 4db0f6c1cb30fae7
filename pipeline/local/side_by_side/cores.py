"""The cores, shared among the processes of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from threadpoolctl import threadpool_limits

# What OpenBLAS, NumPy's and SciPy's, reads when it is loaded.
_VARIABLE: Final = "OPENBLAS_NUM_THREADS"


@contextlib.contextmanager
def shared_cores(processes: int) -> Iterator[None]:
    """Let no process's linear algebra have more threads than its part of the cores.

    With a thread for every core in each process, threads wait for each other by turning in
    circles: two Trainers side by side on two cores took a tenth more CPU time. An
    OPENBLAS_NUM_THREADS of the user's own stays.

    Args:
        processes: at least 1.
    """
    if _VARIABLE in os.environ:
        yield
        return
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    # The variable is for what isn't loaded yet, and for the processes that are started meanwhile.
    os.environ[_VARIABLE] = str(threads)
    try:
        with threadpool_limits(threads, "blas"):
            yield
    finally:
        del os.environ[_VARIABLE]
