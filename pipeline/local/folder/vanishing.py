"""Says in a sentence why a node failed, where OUTPUT or DATA is the reason and not the node."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig, check_inputs
from pipeline.local.folder.damage import damage_in, set_aside, what_is_damaged
from pipeline.local.folder.inventory import by_folder


@dataclass(frozen=True)
class Held:
    """The files that have to stay where they are while a run is under way, held open.

    TFX makes folders anew that were removed, so that a name alone says nothing. An open file
    keeps its number, which nothing else can get meanwhile.

    Attributes:
        files: path -> open file descriptor.
    """

    files: dict[Path, int]

    def gone(self) -> Path | None:
        """Return the first that was removed, moved away or replaced."""
        for path, descriptor in self.files.items():
            try:
                if not os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return path
            except OSError:
                return path
        return None


@contextlib.contextmanager
def holding(layout: OutputLayout) -> Iterator[Held]:
    """Hold OUTPUT, its artifacts and its store while the block lasts; all three exist."""
    with contextlib.ExitStack() as stack:
        files = {}
        for path in (layout.root.resolve(), layout.artifacts, layout.metadata):
            files[path] = os.open(path, os.O_RDONLY)
            stack.callback(os.close, files[path])
        yield Held(files)


def missing_output(held: Held, node: str | None) -> InputError | None:
    """Say that OUTPUT, or what a run needs of it, was taken away meanwhile, where it was."""
    gone = held.gone()
    return None if gone is None else _removed(gone, node)


def missing_artifact(uris: Iterable[str], node: str | None) -> InputError | None:
    """Say that an artifact was taken away that the run had written or found, where one was.

    Args:
        uris: of those artifacts.
        node: that failed.
    """
    gone = next((uri for uri in uris if not Path(uri).exists()), None)
    return None if gone is None else _removed(gone, node)


def _removed(gone: Path | str, node: str | None) -> InputError:
    return InputError(
        f"output: {gone} was removed, moved or replaced while {_who(node)} ran, so the run "
        "stopped. Start it again: it goes on with what is there then."
    )


def missing_data(config: PipelineConfig, node: str | None) -> InputError | None:
    """Say that the images or their table were taken away meanwhile, where they were."""
    try:
        check_inputs(config)
    except InputError as error:
        problems = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        return InputError(
            f"{problems} any more: it was there when the run began, and went while {_who(node)} "
            "ran. Put it back and run again; what is done comes from the cache."
        )
    return None


def damaged_files(layout: OutputLayout, uris: Iterable[str], node: str | None) -> InputError | None:
    """Say that a node read a damaged artifact, where it did; that is set aside.

    Args:
        layout: of the output folder.
        uris: of the artifacts that the run wrote or took from the cache.
        node: that failed.
    """
    damages = damage_in(layout, uris)
    if not damages:
        return None
    each = by_folder(damages)
    lines = [
        f"{what_is_damaged(each[folder])} It is now in {place}."
        for folder, place in set_aside(layout, damages).items()
    ]
    return InputError(
        f"output: {_who(node)} failed on damaged files. {' '.join(lines)} Run again: what is "
        "missing is made again, and all that depends on it."
    )


def _who(node: str | None) -> str:
    return node or "the runner"
