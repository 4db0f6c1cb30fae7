"""De-identifies a folder: each file once, all of them checked, and the result there as a whole."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from common.errors import InputError
from models.conversion import dicom_file
from models.conversion.dicom import MAGIC
from models.deep_images import UnusableImageError
from pipeline.deidentify.actions import EDITION
from pipeline.deidentify.burned_in import find_text
from pipeline.deidentify.dataset import clean
from pipeline.deidentify.pixel_data import clean_pixel_data
from pipeline.deidentify.pseudonyms import Pseudonyms
from pipeline.deidentify.verification import Finding, verify
from schema import contract

REPORT: Final = "deidentification.json"
# Of a file: a radiograph has some tens of MB.
_MOST_BYTES: Final = 1 << 30

PixelsOf = Callable[[Dataset], np.ndarray]


@dataclass(frozen=True)
class Refused:
    """A file that wasn't de-identified.

    Attributes:
        file: as it was found.
        why: it is refused.
    """

    file: Path
    why: str


@dataclass
class Outcome:
    """The results of a folder, and what is to be said of them.

    Attributes:
        written: original -> the file made of it, below the folder of results.
        refused: files without a result.
        repeated: files whose content had been met already, and the first with it.
        to_look_at: file made -> why a person has to look at it.
        patients: how many.
        counts: what was taken out or changed beyond the table -> how often.
    """

    written: dict[Path, Path] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    repeated: dict[Path, Path] = field(default_factory=dict)
    to_look_at: dict[Path, str] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return what may lie beside the images: no name of an original, and no value of one."""
        return {
            "profile": f"DICOM PS3.15 {EDITION}, Basic Application Level Confidentiality Profile",
            "kept": ["age in years (90 and above as 090Y)", "sex"],
            "dates": "moved back by whole days, by one offset a patient",
            "images": len(self.written),
            "patients": len(self.patients),
            "refused_files": len(self.refused),
            "repeated_files": len(self.repeated),
            "counts": dict(sorted((+self.counts).items())),
            "look_at": {str(file): why for file, why in sorted(self.to_look_at.items())},
        }


class NotCleanError(RuntimeError):
    """The check found what must not be there; nothing was handed over."""


def deidentify(
    source: Path,
    target: Path,
    salt: bytes,
    *,
    pixels_of: PixelsOf | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Outcome:
    """De-identify all files below a folder.

    The target appears when all is written and checked, or not at all.

    Args:
        source: the folder, or one file.
        target: a folder that isn't there yet, or is empty.
        salt: secret.
        pixels_of: decodes an image, to look for text in it; pydicom where None.
        progress: goes through the files, and may show how far it is.

    Raises:
        InputError: there is nothing, the target is not empty, or one lies in the other.
        NotCleanError: the check of what was written found something.
    """
    keep_apart(source, target)
    files = list(_files(source))
    if not files:
        raise InputError(f"{source} holds no file.")
    outcome = Outcome()
    staging = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    try:
        staging.mkdir(parents=True)
        run = _Run(source, staging, Pseudonyms(salt), pixels_of or stored_pixels, outcome)
        for file in progress(files):
            run.take(file)
        if run.findings:
            raise _not_clean(run.findings)
        if outcome.written:
            report = json.dumps(outcome.to_json(), indent=1, sort_keys=True)
            (staging / REPORT).write_text(report + "\n", encoding="utf-8")
            # An empty folder gives way; one that has been filled meanwhile doesn't.
            staging.rename(target)
    except OSError as error:
        raise InputError(f"{target} can't be written: {error.strerror or error}.") from error
    finally:
        if staging.exists():
            shutil.rmtree(staging, ignore_errors=True)
    return outcome


def _not_clean(findings: list[Finding]) -> NotCleanError:
    lines = "".join(f"\n  {f.file}: {f.what}" for f in findings)
    return NotCleanError(
        f"the check found {len(findings)} things that must not be there, so nothing was written; "
        f"take these files out of the folder, and report them:{lines}"
    )


def stored_pixels(dataset: Dataset) -> np.ndarray:
    """Decode an image's first frame, as it is stored."""
    from pydicom.pixels import pixel_array

    return pixel_array(dataset, index=0)


def keep_apart(source: Path, target: Path) -> None:
    """Make sure that nothing is written over, or read again.

    Raises:
        InputError: the target isn't empty, one lies in the other, or there is no source.
    """
    if not source.exists():
        raise InputError(f"{source} doesn't exist.")
    folder = source if source.is_dir() else source.parent
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is there and isn't empty; nothing is written over.")
    inside = source.is_dir() and _within(target.absolute(), folder)
    if inside or _within(source.resolve(), target):
        raise InputError(f"{source} and {target}: one lies in the other; give a folder outside.")


def _within(inner: Path, outer: Path) -> bool:
    """Say whether a path is a folder or lies below it, whatever links lead there."""
    if not outer.exists():
        return False
    resolved = inner.resolve()
    return any(p.exists() and p.samefile(outer) for p in (resolved, *resolved.parents))


def _files(source: Path) -> Iterator[Path]:
    """Go through all files in a fixed order; a link to a folder is handed out as a file."""
    if not source.is_dir():
        yield source
        return
    for folder, folders, names in os.walk(source, onerror=_raise):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(folder) / name


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename} can't be read: {error.strerror}.") from error


class _Run:
    """A folder's way through the cleaning, file by file."""

    def __init__(
        self,
        source: Path,
        staging: Path,
        pseudonyms: Pseudonyms,
        pixels_of: PixelsOf,
        outcome: Outcome,
    ) -> None:
        self._source = source
        self._staging = staging
        self._pseudonyms = pseudonyms
        self._pixels_of = pixels_of
        self._outcome = outcome
        self._firsts: dict[Path, Path] = {}
        self.findings: list[Finding] = []

    def take(self, file: Path) -> None:
        """De-identify a file, or list it."""
        try:
            # pydicom warns with the values that it wonders about.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._take(file)
        except _UnusableError as error:
            self._refuse(file, str(error))
        except MemoryError:
            self._refuse(file, "needs more memory than there is")
        except OSError:
            # Reading is over; it's the results that can't be written.
            raise
        # Damaged headers and streams end in many kinds of error, of pydicom and of decoders.
        except Exception as error:
            self._refuse(file, f"is damaged: {type(error).__name__}: {error}")

    def _refuse(self, file: Path, why: str) -> None:
        self._outcome.refused.append(Refused(file, why))

    def _take(self, file: Path) -> None:
        source = _read(file)
        outcome = self._outcome
        cleaned = clean(source, self._pseudonyms)
        dataset = cleaned.dataset
        counts = cleaned.counts
        clean_pixel_data(dataset, source.file_meta.TransferSyntaxUID, counts)
        reasons = self._look(dataset)
        content = BytesIO()
        pydicom.dcmwrite(content, dataset, enforce_file_format=True)
        place = Path(
            cleaned.patient, str(dataset.StudyInstanceUID), f"{dataset.SOPInstanceUID}.dcm"
        )
        path = self._staging / place
        if place in self._firsts:
            first = self._firsts[place]
            if path.read_bytes() != content.getvalue():
                raise _UnusableError(f"has the SOP Instance UID of {first}, and isn't the same")
            outcome.repeated[file] = first
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as output:
            output.write(content.getbuffer())
        self._firsts[place] = file
        self.findings += verify(file, path, self._names(file))
        outcome.written[file] = place
        outcome.patients.add(cleaned.patient)
        outcome.counts += counts
        if reasons:
            outcome.to_look_at[place] = "; ".join(reasons)

    def _look(self, dataset: Dataset) -> list[str]:
        reasons = []
        if dataset.get("BurnedInAnnotation") == "YES":
            reasons.append("its header says that text is burned in")
        try:
            boxes = find_text(self._pixels_of(dataset))
        except Exception as error:
            raise _UnusableError(
                f"its pixels can't be decoded, so nobody can look for text in them: {error}"
            ) from error
        if boxes:
            reasons.append(f"{len(boxes)} places near its edges look like text")
        return reasons

    def _names(self, file: Path) -> list[str]:
        root = self._source if self._source.is_dir() else self._source.parent
        return [file.stem, *file.relative_to(root).parts]


class _UnusableError(Exception):
    """A file that is refused, with the reason."""


def _read(file: Path) -> Dataset:
    if file.is_dir():
        raise _UnusableError("is a link to a folder; give the folder itself")
    if not file.is_file():
        raise _UnusableError("is no ordinary file")
    size = file.stat().st_size
    if size > _MOST_BYTES:
        raise _UnusableError(f"has {size} bytes, more than {_MOST_BYTES}")
    try:
        with file.open("rb") as content:
            at, magic = MAGIC
            if content.read(at + len(magic))[at:] != magic:
                raise _UnusableError("is no DICOM file (no DICM at byte 128)")
        _require_bounded(file)
        source = pydicom.dcmread(file)
    except OSError as error:
        raise _UnusableError(f"can't be read: {error.strerror or error}") from error
    _usable(source)
    return source


def _require_bounded(file: Path) -> None:
    """Refuse a deflated file that grows beyond all bounds; pydicom has none."""
    # Read by itself, in front of everything else.
    syntax = read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        try:
            dicom_file.read(file.read_bytes(), ("SOPClassUID",))
        except UnusableImageError as error:
            raise _UnusableError(f"is {error}") from error


def _usable(source: Dataset) -> None:
    if "TransferSyntaxUID" not in source.file_meta:
        raise _UnusableError("names no transfer syntax")
    missing = [
        name
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        if not source.get(name)
    ]
    if source.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise _UnusableError("is a DICOMDIR, an index with names; make a new one of the results")
    if missing:
        raise _UnusableError(f"has no {', '.join(missing)}")
    kind = source.SOPClassUID.name
    if not kind.endswith(("Image Storage", "Image Storage - For Presentation",
                          "Image Storage - For Processing")):  # fmt: skip
        raise _UnusableError(
            f"is no image ({kind}): reports, documents and the like hold text that can't be cleaned"
        )
    if "PixelData" not in source:
        raise _UnusableError("holds no pixel data")
    pixels = int(source.Rows) * int(source.Columns) * int(source.get("NumberOfFrames") or 1)
    if pixels > contract.MAX_PIXELS:
        raise _UnusableError(f"claims {pixels} pixels, more than {contract.MAX_PIXELS}")
