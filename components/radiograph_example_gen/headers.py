"""A DICOM's header → what metadata.csv would say of the image. Patients' ids are hashed at once.

Nothing that names a person leaves this module: no name, no id, no date of birth, no day of an
examination. A value that can't be read is unknown, and named by its element alone.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from components.radiograph_example_gen.metadata import known_patient
from models.conversion import dicom
from models.conversion.dicom_person import age_of, examined, sex_of, tried
from schema import contract

if TYPE_CHECKING:
    from models.conversion.dicom_file import DicomFile

# Further columns that a header has; a run may slice by them (`data.slice_columns`).
MODALITY: Final = "modality"
MANUFACTURER: Final = "manufacturer"
INSTITUTION: Final = "institution"
PIXEL_SPACING: Final = "pixel_spacing"
INTENT: Final = "presentation_intent"
DAYS: Final = "days_since_first"
# What is known of a DICOM whose grey levels follow no window.
NO_WINDOW: Final = "no_window"
# Days, shifted by a number of the patient's own, until the first is known (`days_since_first`).
SHIFTED_DAY: Final = "shifted_day"

_VIEWS: Final = ("AP", "PA")
_VIEW_MEANINGS: Final = {"antero-posterior": "AP", "postero-anterior": "PA"}
_OF_AGE: Final = 18.0
# A century, in days.
_SHIFTS: Final = 36_525


@dataclass(frozen=True)
class Header:
    """The part of a header that is a table's matter.

    Attributes:
        text: column -> value, of the contract's columns and of this module's; nothing of what is
            unknown.
        numbers: column -> value: age in years, and days.
        unread: elements whose values can't be read, or aren't known here.
    """

    text: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def read_header(content: bytes, salt: bytes) -> Header:
    """Read what a DICOM's header says beside its pixels.

    Args:
        content: of the file.
        salt: for the patient's id.

    Raises:
        UnusableImageError: the header as a whole can't be read.
    """
    # Imports pydicom.
    from models.conversion import dicom_grey

    file = dicom.opened(content)
    unread: list[str] = []

    def text(keyword: str) -> str:
        return tried(lambda: file.text(keyword), "", keyword, unread)

    has_window = tried(lambda: dicom_grey.has_voi(file), True, "WindowCenter", unread)
    found = {
        "sex": sex_of(file, unread),
        "view": _view(file, text("ViewPosition").upper(), unread),
        MODALITY: text("Modality").upper(),
        MANUFACTURER: text("Manufacturer"),
        INSTITUTION: text("InstitutionName"),
        INTENT: text("PresentationIntentType").upper(),
        PIXEL_SPACING: "×".join(
            f"{size:g}"
            for size in tried(
                lambda: file.numbers("ImagerPixelSpacing"), [], "ImagerPixelSpacing", unread
            )
        ),
        NO_WINDOW: "" if has_window else "yes",
    }
    numbers = {}
    patient = known_patient(text("PatientID"))
    day = examined(text)
    if patient != contract.UNKNOWN:
        # Numbers of different houses may be the same.
        who = f"{text('IssuerOfPatientID')}\0{patient}".encode()
        found["patient_id"] = hmac.new(salt, who, hashlib.sha256).hexdigest()[:32]
        if day:
            shift = hmac.new(salt, b"days of " + who, hashlib.sha256).digest()
            numbers[SHIFTED_DAY] = float(
                day.toordinal() + int.from_bytes(shift[:8], "big") % _SHIFTS
            )
    age = age_of(file, unread)
    if age is not None:
        numbers["age"] = age
        found["age_group"] = "adult" if age >= _OF_AGE else "child"
    known = {name: value for name, value in found.items() if value}
    return Header(known, numbers, tuple(dict.fromkeys(unread)))


def _one_of(value: str, known: tuple[str, ...], keyword: str, unread: list[str]) -> str:
    if value and value not in known:
        unread.append(keyword)
    return value if value in known else ""


def _view(file: DicomFile, position: str, unread: list[str]) -> str:
    if position:
        return _one_of(position, _VIEWS, "ViewPosition", unread)
    for item in tried(lambda: file.items("ViewCodeSequence"), [], "ViewCodeSequence", unread):
        meaning = str(item.get("CodeMeaning") or "").casefold().strip()
        if meaning in _VIEW_MEANINGS:
            return _VIEW_MEANINGS[meaning]
    return ""
