"""Files that are whole or not there, also after the machine lost its power."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_durably(file: Path, content: bytes, scratch: Path) -> None:
    """Write a file by way of another name; when this returns, it is on the disk.

    Args:
        file: to make or to replace.
        content: of it.
        scratch: folder of the same file system, for the file while it is being written.

    Raises:
        OSError: it can't be written; then nothing is left of it.
    """
    partial = scratch / uuid.uuid4().hex
    try:
        with partial.open("xb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
