"""Images as the inspection converts them, kept in a folder until their records are written.

Both passes need it, and to make it (a DICOM's or JPEG's PNG, a PNG's scaled values) takes as long
as all else that is done with an image. What isn't in the folder is made again: where the passes run
on machines without a common disk, or where there is little room.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_REMOTE: Final = "://"
# The examples need as much room as what is kept, and get it image by image.
_SHARE_OF_ROOM: Final = 0.5


@dataclass(frozen=True)
class ConvertedImages:
    """A folder of images that were made of others; pickled and sent to Beam's workers.

    A file is called by what it was made of: the digest of the source's content, and the state of
    the source then (inode, size, and when it and its entry were changed last). So no image is
    found whose source has changed since, and whoever writes records looks at it again.

    Attributes:
        folder: on a disk, and there already; with "", nothing is kept.
        spared: bytes of the disk that stay free.
    """

    folder: str = ""
    spared: int = 0

    @classmethod
    def below(cls, place: str) -> ConvertedImages:
        """Make the folder; what is kept takes half of the disk's free room at most.

        Args:
            place: a folder that is removed when the records are written; nothing is kept where it
                is in an object store.
        """
        if _REMOTE in place:
            return cls()
        folder = tempfile.mkdtemp(dir=place, prefix="converted-")
        return cls(folder, int(_free(folder) * _SHARE_OF_ROOM))

    def keep(self, image: bytes, sha256: str, source: os.stat_result) -> None:
        """Keep an image, if it can be kept.

        Args:
            image: as the examples hold it.
            sha256: hex digest of the file that it was made of.
            source: the file's state before it was read.
        """
        if not self.folder:
            return
        unfinished = Path(self.folder, uuid.uuid4().hex)
        try:
            # On a machine that doesn't have the folder, this fails.
            if _free(self.folder) - len(image) < self.spared:
                return
            unfinished.write_bytes(image)
            # At once: Beam may do a bundle twice, at the same time.
            unfinished.rename(unfinished.with_name(_name(sha256, source)))
        except OSError:
            with suppress(OSError):
                unfinished.unlink()

    def find(self, sha256: str, source: Path) -> tuple[Path, bytes] | None:
        """Find the image that was made of a file; None where it isn't kept, or the file changed.

        Args:
            sha256: of the file, when it was inspected.
            source: the file.

        Returns:
            Where the image is kept, which whoever doesn't need it any more may delete; and it.
        """
        if not self.folder:
            return None
        try:
            # Opened, since network file systems may answer a mere question from memory.
            with source.open("rb") as file:
                kept = Path(self.folder, _name(sha256, os.fstat(file.fileno())))
            return kept, kept.read_bytes()
        except OSError:
            return None

    def drop_others(self, wanted: Collection[str]) -> None:
        """Delete what no record needs.

        Args:
            wanted: hex digests of the files whose images are needed.
        """
        if not self.folder:
            return
        for kept in Path(self.folder).iterdir():
            if kept.name.partition("-")[0] not in wanted:
                kept.unlink(missing_ok=True)


NOTHING_KEPT: Final = ConvertedImages()


def _name(sha256: str, source: os.stat_result) -> str:
    state = (source.st_ino, source.st_size, source.st_mtime_ns, source.st_ctime_ns)
    return "-".join((sha256, *(f"{number:x}" for number in state)))


def _free(folder: str) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
