"""The digest that decides whether a cached run may be used: contents, never dates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.radiograph_example_gen.discovery import Discovery, Kind
from components.radiograph_example_gen.inspection import read_regular_file
from components.radiograph_example_gen.readers import reader_of
from components.radiograph_example_gen.salt import salt_for
from models.deep_images import UnusableImageError

# Reading waits for the disk and sha256 releases the interpreter lock.
_THREADS = 4


def fingerprint(
    files: Iterable[tuple[str, int, str]],
    discovery: Discovery,
    metadata: bytes | None,
    conversions: Iterable[str],
) -> str:
    """Hash the input, in hex digits.

    Args:
        files: (path, size in bytes, sha256) of every candidate; size 0 and sha256 ""
            where the file cannot be read.
        discovery: its files of the kinds BAD and UNREAD_IMAGE count by name, since too many of them
            stop the run: their content is never opened.
        metadata: content of the metadata file.
        conversions: of the candidates, as `Reader.conversion` names them: another decoder may give
            other pixels; and the name of the salt, where there are DICOMs. Folders of PNGs have
            none, and no such part.
    """
    hasher = hashlib.sha256()
    kinds = (Kind.BAD, Kind.UNREAD_IMAGE)
    refused = [(item.path, 0, "") for item in discovery.left_out if item.kind in kinds]
    for entry in sorted([*files, *refused]):
        hasher.update(json.dumps(entry).encode() + b"\n")
    table = "" if metadata is None else hashlib.sha256(metadata).hexdigest()
    hasher.update(f"metadata:{table}\n".encode())
    for conversion in sorted(set(filter(None, conversions))):
        hasher.update(f"conversion:{conversion}\n".encode())
    return hasher.hexdigest()


def fingerprint_folder(data_dir: str, discovery: Discovery, metadata: bytes | None) -> str:
    """Read every candidate and digest the input; an unreadable file is marked as such."""
    with ThreadPoolExecutor(_THREADS) as pool:
        paths = [candidate.path for candidate in discovery.candidates]
        digested = list(pool.map(lambda path: _digest_file(data_dir, path), paths))
    files = [file for file, _ in digested]
    conversions = (*(conversion for _, conversion in digested), salt_for(paths).name)
    return fingerprint(files, discovery, metadata, conversions)


def _digest_file(data_dir: str, path: str) -> tuple[tuple[str, int, str], str]:
    try:
        content = read_regular_file(Path(data_dir) / path)
    except OSError:
        return (path, 0, ""), ""
    try:
        conversion = reader_of(content).conversion()
    except UnusableImageError:
        conversion = ""
    return (path, len(content), hashlib.sha256(content).hexdigest()), conversion
