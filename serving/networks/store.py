"""Converted networks on disk, so that a server starts without converting any.

    ROOT/parts/KEY/       network.xml, network.bin: a trunk or a head, as OpenVINO's IR
    ROOT/versions/KEY/    front/: a SavedModel of what stands around the network, a few kilobytes
    each with files.json  the digests of its files; a version's plan is there, too

A part's key says what it computes, a version's what it was made from and for: see `version_key`.
So nothing in here is ever out of date, and any number of folders of models and of servers may share
it. Nobody needs it: what isn't there, or is damaged, is made again. A folder appears whole, by
renaming, and its files are never changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from absl import logging

from common.digests import digest_of
from models.openvino_runtime import CPUINFO, import_openvino
from serving.networks.plan import KEY, PartName, Plan, plan_from_json
from serving.openvino_repository import file_digest

# To be raised whenever what is written here, or how it is made, changes.
_FORMAT: Final = 1
FRONT: Final = "front"
_DESCRIPTION: Final = "files.json"
_NETWORK: Final = "network.xml"
_VERSIONS: Final = "versions"
_PARTS: Final = "parts"
# What makes up a SavedModel; what lies beside it (cards, notes) isn't converted.
_SAVED_MODEL: Final = ("saved_model.pb", "variables", "assets")
# What nobody has asked for so long is removed.
_KEEP_SECONDS: Final = 30 * 24 * 3600
# A process that writes holds a lock on its folder's file; what is older has none.
_ABANDONED_SECONDS: Final = 24 * 3600
_UNFINISHED: Final = ".tmp-"


class DamagedError(Exception):
    """A folder of the store isn't as it was written."""


def version_key(directory: Path, precision: str) -> str:
    """Compute the key of a version: a digest of all that its plan depends on.

    Args:
        directory: its folder.
        precision: as asked for.

    Raises:
        OSError: a file can't be read.
    """
    files = [file for name in _SAVED_MODEL for file in _files_of(directory / name)]
    lines = [f"{file.relative_to(directory).as_posix()} {file_digest(file)}" for file in files]
    return hashlib.sha256("\n".join([*lines, precision, *_machine()]).encode()).hexdigest()


def _files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _machine() -> list[str]:
    """Name what else networks and their answers depend on."""
    import tensorflow as tf

    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags")
    cpu = [next((line for line in lines if line.startswith(name)), "") for name in wanted]
    openvino = import_openvino()
    return [f"format {_FORMAT}", f"openvino {openvino.__version__}", f"tf {tf.__version__}", *cpu]


class Store:
    """The folder. Several threads and processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Name it.

        Args:
            root: need not be there, nor be writable.
        """
        self.root = root

    def plan(self, key: str) -> Plan | None:
        """Read a version's plan; None where there is none.

        Raises:
            DamagedError: it, or a part of it, isn't as it was written.
        """
        folder = self.root / _VERSIONS / key
        if not folder.is_dir():
            return None
        description = self._checked(folder)
        try:
            plan = plan_from_json(description["plan"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{folder / _DESCRIPTION}: {error}") from error
        for used in (folder, *(self._part(part) for part in _parts_of(plan))):
            _touch(used)
        return plan

    def front(self, key: str) -> Path:
        """Name the folder of a version's front, which `plan` has checked."""
        return self.root / _VERSIONS / key / FRONT

    def read(self, part: PartName) -> Any:
        """Read a part.

        Returns:
            `openvino.Model`.

        Raises:
            DamagedError: it isn't as it was written, or isn't there.
        """
        folder = self._part(part)
        self._checked(folder)
        try:
            return import_openvino().Core().read_model(str(folder / _NETWORK))
        # OpenVINO has no class of its own.
        except Exception as error:
            raise DamagedError(f"{folder / _NETWORK}: {error}") from error

    def write(
        self,
        key: str,
        plan: Plan,
        models: Mapping[str, Any],
        write_front: Callable[[Path], None],
    ) -> bool:
        """Keep a version; parts that are there already are left as they are.

        Args:
            key: of the version.
            plan: of it.
            models: part's key -> `openvino.Model`.
            write_front: writes the front's SavedModel into a folder.

        Returns:
            Whether it is kept; not where the folder can't be written to, which is said.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for part, model in models.items():
                self.write_part(part, model)
            with self._unfinished(self.root / _VERSIONS / key) as folder:
                write_front(folder / FRONT)
                _describe(folder, {"plan": plan.to_json()})
            self._sweep()
        except OSError as error:
            logging.warning("%s: converted networks can't be kept: %s", self.root, error)
            return False
        return True

    def write_part(self, key: str, model: Any) -> None:
        """Keep a part, unless it is there already.

        Args:
            key: of the part.
            model: `openvino.Model`.

        Raises:
            OSError: it can't be written.
        """
        target = self.root / _PARTS / key
        if self._is_whole(target):
            _touch(target)
            return
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._unfinished(target) as folder:
            # As trained: half precision would be another model.
            import_openvino().save_model(model, str(folder / _NETWORK), compress_to_fp16=False)
            _describe(folder, {})

    def forget(self, key: str) -> None:
        """Remove a version that is damaged."""
        shutil.rmtree(self.root / _VERSIONS / key, ignore_errors=True)

    def _part(self, part: PartName) -> Path:
        return self.root / _PARTS / part.key

    def _is_whole(self, folder: Path) -> bool:
        try:
            return bool(self._checked(folder))
        except DamagedError:
            return False

    def _checked(self, folder: Path) -> dict[str, Any]:
        """Read a folder's description, and compare its files with that.

        Raises:
            DamagedError: a file is missing, is another, or lies elsewhere.
        """
        try:
            description: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
            digest = description.pop("digest")
            files = {str(name): str(wanted) for name, wanted in description["files"].items()}
            unchanged = digest == digest_of(description)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{folder / _DESCRIPTION}: {error!r}") from error
        if not unchanged:
            raise DamagedError(f"{folder / _DESCRIPTION} was changed")
        inside = self.root.resolve()
        for name, wanted in files.items():
            file = folder / name
            try:
                same = file.resolve().is_relative_to(inside) and file_digest(file) == wanted
            except OSError as error:
                raise DamagedError(f"{file}: {error}") from error
            if not same:
                raise DamagedError(f"{file} was changed")
        return description

    @contextlib.contextmanager
    def _unfinished(self, target: Path) -> Iterator[Path]:
        """Make a folder under another name, and give it its own once it is whole."""
        target.parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.root))
        try:
            yield folder
            shutil.rmtree(target, ignore_errors=True)
            # Who was faster has written the same.
            with contextlib.suppress(FileExistsError):
                _rename(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what nobody has used for a month, and what a killed process left."""
        now = time.time()
        for kind in (_VERSIONS, _PARTS):
            for folder in _entries(self.root / kind):
                if KEY.fullmatch(folder.name) and _age(folder, now) > _KEEP_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        for folder in _entries(self.root):
            if folder.name.startswith(_UNFINISHED) and _age(folder, now) > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _touch(folder: Path) -> None:
    """Tell by its time of change that a folder is in use, where that may be told."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        # What Linux says of a folder that isn't empty.
        if target.is_dir():
            raise FileExistsError(str(target)) from error
        raise


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _age(folder: Path, now: float) -> float:
    try:
        return now - folder.stat().st_mtime
    except OSError:
        return 0.0


def _parts_of(plan: Plan) -> list[PartName]:
    return [part for network in plan.networks for part in network.parts]


def _describe(folder: Path, content: Mapping[str, Any]) -> None:
    files = {file.relative_to(folder).as_posix(): file_digest(file) for file in _files_of(folder)}
    description = {**content, "files": files}
    text = json.dumps({**description, "digest": digest_of(description)}, indent=1)
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
