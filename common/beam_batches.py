"""Batches of TFX's records that are small also when Transform has made pixels of them.

With `--tfxio_use_byte_size_batching` tfx_bsl batches 20 MiB of records as they lie in the file, and
8,192 of them at most. Transform makes 64 KiB of pixels of each, however small its PNG is: of 8,192
half a GiB, several times over. So fewer are batched.
"""

from __future__ import annotations

from typing import Final

# Of 64 KiB each they are 16 MiB, and so below the 20 MiB as well.
MOST_RECORDS: Final = 256
_CAP: Final = "_BATCH_SIZE_CAP_WITH_BYTE_TARGET"


def bound_batches() -> None:
    """Have tfx_bsl batch 256 records at most, where it batches by their bytes.

    There is no option for it. A tfx_bsl that has no such number any more (1.16.1 and 1.21.0 have
    it) is left as it is.
    """
    from tfx_bsl.coders import batch_util

    if hasattr(batch_util, _CAP):
        setattr(batch_util, _CAP, min(MOST_RECORDS, getattr(batch_util, _CAP)))
