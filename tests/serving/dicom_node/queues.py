"""A small queue on the disk, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.dicom_node.disk_queue import DiskQueue

UIDS = [f"1.2.{number}" for number in range(6)]
INSTANCES, BYTES = 4, 60


def opened(folder: Path, **changes: Any) -> DiskQueue:
    return DiskQueue(folder, **({"max_instances": INSTANCES, "max_bytes": BYTES} | changes))


def results_of(uid: str) -> dict[str, bytes]:
    return {f"2.25.{uid.split('.')[-1]}.{part}": b"result" + uid.encode() for part in (1, 2)}
