"""One Beam worker, as a pool starts it: `python -m pipeline.beam.worker ENDPOINT WORKER_ID`."""

from __future__ import annotations

import logging
import sys

from common.runtime import prepare_environment


def main(endpoint: str, worker_id: str) -> None:
    """Take work from the runner at the endpoint until it closes the connection.

    What goes wrong in a bundle is written to standard error, too, which is the pool's.
    """
    logging.basicConfig(format=f"worker {worker_id}: %(message)s", level=logging.WARNING)
    prepare_environment()
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    # As Beam's own pool has it: no cache of state, and no bound on how long data is held back.
    SdkHarness(
        endpoint, worker_id=worker_id, state_cache_size=0, data_buffer_time_limit_ms=-1
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:3])
