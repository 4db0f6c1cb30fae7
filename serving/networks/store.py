"""Converted networks on disk, so that a server starts without converting any.

    ROOT/versions/KEY/  front/: a SavedModel of what stands around the network, a few kilobytes;
                        told beside it: the networks, what they answer to the probes, and the rule
    ROOT/networks/KEY/  told: a network's parts and answers, for the next version that has it
    ROOT/parts/KEY/     network.xml, network.bin: a trunk or a head, as OpenVINO's IR
    ROOT/vectors/KEY/   vectors.npy: what a trunk makes of the probes
    ROOT/choices/KEY/   told: the engine that a version runs on, on one kind of machine

A key says what it was made from and for, so nothing in here is ever out of date, and any number of
folders of models and of servers may share it. All but choices and some vectors is the same on any
machine: a push writes that beside the models (`serving.networks.pushing`). Nobody needs a store:
what isn't there, or is damaged, is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from absl import logging

from models.engines import EngineName
from models.openvino_runtime import CPUINFO, import_openvino
from serving.networks.folders import DamagedError, Folders, files_of, touch
from serving.networks.plan import (
    Choice,
    ConvertedVersion,
    KnownNetwork,
    PartName,
    choice_from_json,
    network_from_json,
    version_from_json,
)
from serving.openvino_repository import file_digest

# To be raised whenever what is written here, or how it is made, changes.
_FORMAT: Final = 2
FRONT: Final = "front"
_NETWORK: Final = "network.xml"
_VECTORS_FILE: Final = "vectors.npy"
VERSIONS: Final = "versions"
_NETWORKS: Final = "networks"
PARTS: Final = "parts"
_VECTORS: Final = "vectors"
_CHOICES: Final = "choices"
# What makes up a SavedModel; what lies beside it (cards, notes) isn't converted.
_SAVED_MODEL: Final = ("saved_model.pb", "variables", "assets")


def version_key(directory: Path) -> str:
    """Compute the key of a version: a digest of all that its conversion depends on.

    Args:
        directory: its folder.

    Raises:
        OSError: a file can't be read.
    """
    files = [file for name in _SAVED_MODEL for file in files_of(directory / name)]
    lines = [f"{file.relative_to(directory).as_posix()} {file_digest(file)}" for file in files]
    return _key([*lines, *_programs()])


def choice_key(version: str, precision: str) -> str:
    """Compute the key of a choice.

    Args:
        version: its key.
        precision: as asked for.
    """
    return _key([version, precision, *_machine()])


def _key(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _programs() -> list[str]:
    """Name what networks and their answers are made with."""
    import tensorflow as tf

    openvino = import_openvino()
    return [f"format {_FORMAT}", f"openvino {openvino.__version__}", f"tf {tf.__version__}"]


def _machine() -> list[str]:
    """Name what else an engine's answers and speed depend on."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags")
    return [next((line for line in lines if line.startswith(name)), "") for name in wanted]


class Store:
    """The folder. Several threads and processes may use it at once."""

    def __init__(self, root: Path, *, of_pushes: bool = False) -> None:
        """Name it.

        Args:
            root: need not be there, nor be writable.
            of_pushes: it lies beside pushed models. A push alone writes there, and nothing is
                removed, since nobody notes what is used.
        """
        self.root = root
        self.of_pushes = of_pushes
        self._folders = Folders(root)

    def version(self, key: str) -> ConvertedVersion | None:
        """Read a version; None where there is none.

        Raises:
            DamagedError: it, or a part of it, isn't as it was written.
        """
        told = self._folders.read(VERSIONS, key)
        if told is None:
            return None
        version = self._parsed(VERSIONS, key, told, version_from_json)
        parts = [part.key for network in version.networks for part in network.plan.parts]
        if not self.of_pushes:
            for kind, used in ((VERSIONS, key), *((PARTS, part) for part in parts)):
                touch(self._folders.path(kind, used))
        return version

    def front(self, key: str) -> Path:
        """Name the folder of a version's front, which `version` has checked."""
        return self._folders.path(VERSIONS, key) / FRONT

    def network(self, source: str) -> KnownNetwork | None:
        """Read a network by what it was made from; None where there is none that is whole."""
        key = _key([source, *_programs()])
        try:
            told = self._folders.read(_NETWORKS, key)
            if told is None:
                return None
            network = self._parsed(_NETWORKS, key, told, network_from_json)
            whole = all(self._folders.read(PARTS, part.key) for part in network.plan.parts)
        except DamagedError as error:
            logging.warning("a converted network is damaged, and is made again: %s", error)
            return None
        touch(self._folders.path(_NETWORKS, key))
        return network if whole else None

    def read(self, part: PartName) -> Any:
        """Read a part.

        Returns:
            `openvino.Model`.

        Raises:
            DamagedError: it isn't as it was written, or isn't there.
        """
        file = self._folders.path(PARTS, part.key) / _NETWORK
        if self._folders.read(PARTS, part.key) is None:
            raise DamagedError(f"{file} isn't there")
        try:
            return import_openvino().Core().read_model(str(file))
        # OpenVINO has no class of its own.
        except Exception as error:
            raise DamagedError(f"{file}: {error}") from error

    def write(
        self,
        key: str,
        version: ConvertedVersion,
        sources: Sequence[str | None],
        models: Mapping[str, Any],
        write_front: Callable[[Path], None],
    ) -> bool:
        """Keep a version; what is there already is left as it is.

        Args:
            key: of the version.
            version: itself.
            sources: for each of its networks, what it was made from, where that can be told.
            models: part's key -> `openvino.Model`; of those that were found here, none.
            write_front: writes the front's SavedModel into a folder.

        Returns:
            Whether it is kept; not where the folder can't be written to, which is said.
        """

        def kept() -> None:
            for part, model in models.items():
                self.write_part(part, model)
            for source, network in zip(sources, version.networks, strict=True):
                if source is not None:
                    named = _key([source, *_programs()])
                    self._folders.write(_NETWORKS, named, network.to_json(), _nothing)
            told = version.to_json()
            self._folders.write(VERSIONS, key, told, lambda folder: write_front(folder / FRONT))
            if not self.of_pushes:
                self._folders.sweep()

        return self._kept(kept)

    def write_part(self, key: str, model: Any) -> None:
        """Keep a part, unless it is there already.

        Args:
            key: of the part.
            model: `openvino.Model`.

        Raises:
            OSError: it can't be written.
        """

        def save(folder: Path) -> None:
            # As trained: half precision would be another model.
            import_openvino().save_model(model, str(folder / _NETWORK), compress_to_fp16=False)

        self._folders.write(PARTS, key, {}, save)

    def choice(self, key: str) -> Choice | None:
        """Read a choice; None where there is none, or it is damaged."""
        try:
            told = self._folders.read(_CHOICES, key)
            found = told and self._parsed(_CHOICES, key, told, choice_from_json)
        except DamagedError as error:
            logging.warning("a note is damaged, and is made again: %s", error)
            return None
        touch(self._folders.path(_CHOICES, key))
        return found or None

    def write_choice(self, key: str, choice: Choice) -> None:
        """Keep a choice, where the folder can be written to."""
        self._kept(lambda: self._folders.write(_CHOICES, key, choice.to_json(), _nothing))

    def vectors(self, name: str, engine: EngineName, *, anywhere: bool) -> np.ndarray | None:
        """Read what is known of a trunk's output for the probes; None where nothing is.

        Args:
            name: of the output, `probes.vector_name`.
            engine: that ran it.
            anywhere: on whatever machine; else on one like this.
        """
        key = self._vectors_key(name, engine, anywhere)
        try:
            if self._folders.read(_VECTORS, key) is None:
                return None
            file = self._folders.path(_VECTORS, key) / _VECTORS_FILE
            found: np.ndarray = np.load(file, allow_pickle=False)
        except (DamagedError, OSError, ValueError) as error:
            logging.warning("a note is damaged, and is made again: %s", error)
            return None
        touch(self._folders.path(_VECTORS, key))
        return found

    def write_vectors(
        self, name: str, engine: EngineName, vectors: np.ndarray, *, anywhere: bool
    ) -> None:
        """Keep what `vectors` reads, where the folder can be written to."""
        key = self._vectors_key(name, engine, anywhere)

        def save(folder: Path) -> None:
            np.save(folder / _VECTORS_FILE, vectors, allow_pickle=False)

        self._kept(lambda: self._folders.write(_VECTORS, key, {}, save))

    def _vectors_key(self, name: str, engine: EngineName, anywhere: bool) -> str:
        return _key([name, engine, *_programs(), *([] if anywhere else _machine())])

    def forget(self, key: str) -> None:
        """Remove a version that is damaged, where that is this program's to do."""
        if not self.of_pushes:
            self._folders.forget(VERSIONS, key)

    def _kept(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            logging.warning("%s: converted networks can't be kept: %s", self.root, error)
            return False
        return True

    def _parsed(self, kind: str, key: str, told: Any, parse: Callable[[Any], Any]) -> Any:
        try:
            return parse(told)
        except ValueError as error:
            raise DamagedError(f"{self._folders.path(kind, key)}: {error}") from error


def _nothing(_: Path) -> None:
    """Write no file: all is told."""
