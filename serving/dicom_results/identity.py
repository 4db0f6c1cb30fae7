"""The identity of a result: it follows from image, model and answer, and from nothing else.

The same image, asked of the same model with the same answer, gives the same object, byte for byte;
storing it twice is harmless. Another model, or another answer, gives another object.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from common.errors import InputError
from serving.openvino_repository import digest_of
from serving.prediction import Prediction

# Of what is written for a given answer; part of the UIDs, as the objects' contents depend on it.
LAYOUT: Final = 1
# Of a probability in the objects.
DECIMALS: Final = 6
# Values without which there is no study to put a result into.
REQUIRED: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# Those that may be empty, but not missing (type 2).
_MAY_BE_EMPTY: Final = (
    "AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex",
    "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip
_SEXES: Final = ("F", "M", "O", "")


@dataclass(frozen=True)
class Algorithm:
    """A pushed version of a model.

    Attributes:
        name: of the model.
        version: its number.
        digest: SHA-256 of the SavedModel's files, hex.
        pushed: when; UTC.
    """

    name: str
    version: str
    digest: str
    pushed: datetime.datetime


def algorithm_of(version: Path) -> Algorithm:
    """Identify a pushed version by its folder, SERVING/MODEL/VERSION.

    A version's number is the second at which it was pushed; TFX's Pusher numbers so.

    Raises:
        InputError: the number is no time.
    """
    try:
        pushed = datetime.datetime.fromtimestamp(int(version.name), datetime.timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"dicom-out: {version} has no number that is a time, as pushed versions have."
        ) from error
    return Algorithm(version.parent.name, version.name, digest_of(version), pushed)


def uid_of(*parts: Any) -> str:
    """Make a UID below 2.25 (PS3.5, B.2) from what JSON can hold."""
    text = json.dumps([LAYOUT, *parts], sort_keys=True, allow_nan=False)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"


def content_of(source: Dataset, answer: Prediction, algorithm: Algorithm) -> list[Any]:
    """List what a result's identity depends on, for `uid_of`."""
    return [
        str(source.SOPInstanceUID),
        *_model(algorithm),
        answer.predicted_class,
        rounded(answer.probabilities),
        answer.abstain,
        # Results of images within are those that they were before there were gates.
        *([] if answer.in_domain else [answer.domain_reason]),
        # Likewise those to an image alone.
        *([list(answer.columns)] if answer.columns else []),
    ]


def series_uid(source: Dataset, algorithm: Algorithm, kind: str) -> str:
    """Return the UID of the series that a model's results of a kind have in a study."""
    return uid_of("series", kind, str(source.StudyInstanceUID), *_model(algorithm))


def _model(algorithm: Algorithm) -> list[str]:
    return [algorithm.name, algorithm.version, algorithm.digest]


def rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Round probabilities to what the objects hold of them."""
    return {name: round(float(value), DECIMALS) for name, value in probabilities.items()}


def content_time(source: Dataset, algorithm: Algorithm) -> datetime.datetime:
    """Return the date of a result's content, the same however often it is made.

    That is the first moment at which it could be: when the model had been pushed, and the image
    taken. When the answer was worked out says nothing more of the content, and would make each run
    another object.

    Returns:
        Without a time zone, in whole seconds; UTC where it is the model's.
    """
    pushed = algorithm.pushed.replace(tzinfo=None, microsecond=0)
    for name in ("Acquisition", "Content", "Study"):
        taken = _time(str(source.get(f"{name}Date", "")), str(source.get(f"{name}Time", "")))
        if taken is not None:
            return max(taken, pushed)
    return pushed


def _time(date: str, time: str) -> datetime.datetime | None:
    # Hours alone are a time, too.
    padded = time.strip().split(".")[0].ljust(6, "0")
    for clock in (padded, "000000"):
        try:
            return datetime.datetime.strptime(date.strip() + clock, "%Y%m%d%H%M%S")
        except ValueError:
            continue
    return None


def header_of(source: Dataset) -> Dataset:
    """Copy what results take over of an image: all but its pixels, with nothing missing.

    Raises:
        ValueError: it names no study, or not itself.
    """
    missing = [name for name in REQUIRED if not source.get(name)]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    header = Dataset()
    header.update({e.tag: e for e in source if e.keyword != "PixelData" and not e.tag.is_private})
    for name in _MAY_BE_EMPTY:
        if not header.get(name):
            setattr(header, name, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    return header
