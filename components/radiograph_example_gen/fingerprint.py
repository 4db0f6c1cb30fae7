"""The digest that decides whether a cached run may be used: contents, never dates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.radiograph_example_gen.discovery import Discovery, Kind
from components.radiograph_example_gen.inspection import read_regular_file

# Reading waits for the disk and sha256 releases the interpreter lock.
_THREADS = 4


def fingerprint(
    files: Iterable[tuple[str, int, str]], discovery: Discovery, metadata: bytes | None
) -> str:
    """Hash the input, in hex digits.

    Args:
        files: (path, size in bytes, sha256) of every candidate; size 0 and sha256 ""
            where the file cannot be read.
        discovery: its files of the kinds BAD and UNREAD_IMAGE count by name, since too many of them
            stop the run: their content is never opened.
        metadata: content of the metadata file.
    """
    hasher = hashlib.sha256()
    kinds = (Kind.BAD, Kind.UNREAD_IMAGE)
    refused = [(item.path, 0, "") for item in discovery.left_out if item.kind in kinds]
    for entry in sorted([*files, *refused]):
        hasher.update(json.dumps(entry).encode() + b"\n")
    table = "" if metadata is None else hashlib.sha256(metadata).hexdigest()
    hasher.update(f"metadata:{table}\n".encode())
    return hasher.hexdigest()


def fingerprint_folder(data_dir: str, discovery: Discovery, metadata: bytes | None) -> str:
    """Read every candidate and digest the input; an unreadable file is marked as such."""
    with ThreadPoolExecutor(_THREADS) as pool:
        paths = [candidate.path for candidate in discovery.candidates]
        files = pool.map(lambda path: _digest_file(data_dir, path), paths)
        return fingerprint(files, discovery, metadata)


def _digest_file(data_dir: str, path: str) -> tuple[str, int, str]:
    try:
        content = read_regular_file(Path(data_dir) / path)
    except OSError:
        return path, 0, ""
    return path, len(content), hashlib.sha256(content).hexdigest()
