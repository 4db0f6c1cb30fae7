"""Compares what a node will write with the room on the disk, before the node starts."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.listing import list_folder
from models.backbones import get_backbone
from pipeline.check.images import settings_of
from pipeline.config.pipeline_config import PipelineConfig

_MEGABYTE: Final = 10**6
_FLOAT32: Final = 4
# A grey byte a pixel of 256 × 256: Transform's images, before they are compressed.
_TRANSFORMED: Final = 256 * 256
# What nodes without an entry of their own need for notes, tables and the metadata store.
_LITTLE: Final = 1 * _MEGABYTE
# The report's figures and thumbnails: `du` of a run on 99 phantoms says 4 MB.
_REPORT: Final = 4 * _MEGABYTE


class NoRoomError(OSError):
    """The disk has less room than a node needs."""


@dataclass(frozen=True)
class Room:
    """The disk that a run writes to, and what its nodes will write.

    Attributes:
        root: a folder on the disk.
        config: of the run.
    """

    root: Path
    config: PipelineConfig

    def check(self, node: str) -> None:
        """Compare, for a node that is about to be executed.

        Args:
            node: its id, such as `Trainer.vgg16`.

        Raises:
            NoRoomError: with what is needed and what is there.
        """
        free = shutil.disk_usage(self.root).free
        if free >= (needed := self.expected_bytes(node)):
            return
        raise NoRoomError(
            f"it will write about {_megabytes(needed)}, and the disk of {self.root} has "
            f"{_megabytes(free)} of room; make room, or give a folder on another disk as --output"
        )

    def expected_bytes(self, node: str) -> int:
        """Estimate how much a node writes: at most twice as much, at least half of it.

        Nodes that write little count as one megabyte.

        Args:
            node: its id, such as `Trainer.vgg16`.
        """
        kind, _, name = node.partition(".")
        return _LITTLE + self._beyond_a_little(kind, name)

    def _beyond_a_little(self, kind: str, name: str) -> int:
        if kind == "RadiographExampleGen":
            return sum(self._images)
        if kind == "Transform":
            return _TRANSFORMED * len(self._images)
        if kind == "PretrainedBackbone":
            # Weights, and once more beside the functions that are traced. (A file that is given is
            # copied first, but the copy is gone by then.)
            return 2 * self._model(name)
        if kind in ("Trainer", "Combiner", "Pusher"):
            return self._model(name)
        return _REPORT if kind == "Report" else 0

    def _model(self, name: str) -> int:
        """Estimate the size of a backbone's model, or of one of all; the champion may be either."""
        if name in self.config.backbones:
            return _FLOAT32 * get_backbone(name).parameters
        sizes = [self._model(each) for each in self.config.backbones]
        return sum(sizes) if name in self.config.put_together else min(sizes)

    @cached_property
    def _images(self) -> tuple[int, ...]:
        """Sizes of the images; of spans, none. A folder is listed once for all nodes."""
        data = self.config.data
        if data.in_spans:
            return ()
        try:
            found = list_folder(settings_of(self.config)).found
        except InputError:
            # RadiographExampleGen says it.
            return ()
        sizes = []
        for candidate in found.candidates:
            with contextlib.suppress(OSError):
                sizes.append((data.dir / candidate.path).stat().st_size)
        return tuple(sizes)


def _megabytes(count: int) -> str:
    return f"{count / _MEGABYTE:,.0f} MB" if count >= _MEGABYTE else f"{count / _MEGABYTE:.1f} MB"
