"""The files of images that were served, found again by their digest: the log has no pixels."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import InputError
from models.conversion import converted, converter_of
from models.deep_images import UnusableImageError
from models.rendering import DEFAULT, Rendering


@dataclass
class Files:
    """The files of a folder.

    Attributes:
        of_digest: SHA-256 in hex -> file; of copies, the first by name.
        looked_at: number of files.
        unread: file -> why it can't be read.
    """

    of_digest: dict[str, Path] = field(default_factory=dict)
    looked_at: int = 0
    unread: dict[str, str] = field(default_factory=dict)


def find_files(folder: Path, wanted: Collection[str], rendering: Rendering = DEFAULT) -> Files:
    """Find the files with wanted digests, in a folder and below.

    A client that sends a DICOM's or JPEG's PNG, as `cxr predict --url` does, has that one's digest
    in the log. So these are also looked for by the PNG that is made of them.

    Args:
        folder: of images.
        wanted: SHA-256 each, in hex.
        rendering: of DICOM, as the client had it.

    Raises:
        InputError: it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"images: {folder} is no folder; give the one that was served from.")
    found = Files()
    for file in sorted(folder.rglob("*")):
        try:
            if not file.is_file():
                continue
            content = file.read_bytes()
        except OSError as error:
            found.unread[str(file)] = error.strerror or str(error)
            continue
        found.looked_at += 1
        digest = digest_of(content)
        if digest not in wanted and converter_of(content) is not None:
            # What can't be converted was answered by nobody.
            with contextlib.suppress(UnusableImageError):
                digest = digest_of(converted(content, rendering=rendering))
        if digest in wanted:
            found.of_digest.setdefault(digest, file)
    return found


def digest_of(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
