"""Makes a DICOM header anew, by the standard's table of actions.

Nothing is taken over that isn't decided about: the header is built up from nothing, not cleaned.
The table says what happens to its attributes. Of the others, which it leaves alone, only what has
no room for a name is kept: numbers, dates (moved), codes. Free text stays where it describes the
equipment or the grey scale (`_TEXTS`), and nowhere else; that is stricter than the profile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from pipeline.deidentify.actions import EDITION, Action, action_of
from pipeline.deidentify.dates import age_between, moved_date, moved_datetime, whole_years
from pipeline.deidentify.pseudonyms import Pseudonyms

# PS3.16, CID 7050.
_METHODS: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
_METHOD_TEXT: Final = (
    f"cxr-tfx, PS3.15 {EDITION} Table E.1-1",
    "Kept: age in years (90 and above as 090Y), sex",
    "Dates moved by whole days, by one offset a patient",
)
_TEXTS: Final = frozenset({
    "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "DetectorManufacturerName", "DetectorManufacturerModelName", "LUTExplanation", "LongCodeValue",
    "Manufacturer", "ManufacturerModelName", "ModalityLUTType", "RescaleType", "SoftwareVersions",
    "WindowCenterWidthExplanation",
})  # fmt: skip
_BYTES: Final = frozenset({
    "BluePaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "LUTData", "PixelData",
    "RedPaletteColorLookupTableData",
})  # fmt: skip
# Whoever made a code outside of these may have written anything into its meaning.
_SCHEMES: Final = frozenset({
    "99SDM", "BARI", "BI", "DCM", "FMA", "LN", "NCIt", "RADLEX", "SCT", "SNM3", "SRT", "UCUM",
})  # fmt: skip
_TEXT_VRS: Final = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_BYTE_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
# What a value of these may look like; whatever doesn't may be a name in the wrong place.
_SHAPES: Final = {
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DS": re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *|"),
    "IS": re.compile(r" *[+-]?\d{1,10} *|"),
    "TM": re.compile(r"(\d{2}:?){0,2}(\d{2})?(\.\d{1,6})? *"),
}
_ZONE: Final = re.compile(r"[+-]\d{4}")
_DUMMIES: Final[dict[str, Any]] = {
    "AS": "000Y", "CS": "NONE", "DA": "19000101", "DS": "0", "DT": "19000101", "IS": "0",
    "TM": "000000", "UR": "about:blank",
}  # fmt: skip
_DUMMY_TEXT: Final = "ANONYMIZED"
_DUMMY_NUMBERS: Final = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})


@dataclass
class Cleaned:
    """A header without what identifies.

    Attributes:
        dataset: all of it, with the pixels as they were.
        patient: pseudonym of the patient.
        counts: what was taken out or changed beyond the table, by a few words -> how often.
    """

    dataset: Dataset
    patient: str
    counts: Counter[str] = field(default_factory=Counter)


def clean(source: Dataset, pseudonyms: Pseudonyms) -> Cleaned:
    """De-identify a header.

    Args:
        source: with file meta information; it isn't changed.
        pseudonyms: of the installation.

    Raises:
        ValueError: something in it can't be read. pydicom raises many kinds of error more.
    """
    key = _patient_key(source)
    run = _Run(pseudonyms, pseudonyms.days_back(key))
    dataset = run.cleaned(source)
    patient = pseudonyms.of("patient", key)
    dataset.PatientID = dataset.PatientName = patient
    if not dataset.get("PatientAge"):
        day = next(filter(None, (str(source.get(name, "")) for name in _DAYS)), "")
        age = age_between(str(source.get("PatientBirthDate", "")), day)
        if age is not None:
            dataset.PatientAge = age
    if not str(source.get("PatientID") or "").strip():
        run.counts["images without a patient ID: each study counts as a patient"] += 1
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = list(_METHOD_TEXT)
    dataset.DeidentificationMethodCodeSequence = [_code(*method) for method in _METHODS]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.file_meta = _meta(source, dataset)
    return Cleaned(dataset, patient, run.counts)


_DAYS: Final = ("StudyDate", "AcquisitionDate", "ContentDate")


def _patient_key(source: Dataset) -> str:
    """Return what tells patients apart.

    Without the issuer of the ID: where it is given in some files only, one patient would become
    two, one of them perhaps in the test split.
    """
    given = str(source.get("PatientID") or "").strip(" \0")
    return given or f"study {source.get('StudyInstanceUID', '')}"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _meta(source: Dataset, dataset: Dataset) -> FileMetaDataset:
    """Make the file meta information: who wrote the file, and who it was sent to, isn't kept."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"PYDICOM {pydicom.__version__}"
    return meta


class _Run:
    """The cleaning of one header, with the sequences in it."""

    def __init__(self, pseudonyms: Pseudonyms, days_back: int) -> None:
        self._pseudonyms = pseudonyms
        self._days_back = days_back
        self.counts: Counter[str] = Counter()

    def cleaned(self, source: Dataset) -> Dataset:
        made = Dataset()
        for element in source:
            kept = self._element(element)
            if kept is not None:
                made.add(kept)
        return made

    def _element(self, element: DataElement) -> DataElement | None:
        action = action_of(element.tag)
        out_of_place = _out_of_place(element)
        if out_of_place is not None:
            self._count_removed(out_of_place)
            return None
        if action is Action.REMOVE or element.tag.element == 0:
            return None
        if element.VR == "SQ":
            return self._sequence(element, action)
        value = self._value(element, action)
        return None if value is None else self._made(element, value)

    def _made(self, element: DataElement, value: Any) -> DataElement:
        # The pixels of a compressed image are written without a length.
        endless = element.is_undefined_length
        return DataElement(element.tag, element.VR, value, is_undefined_length=endless)

    def _count_removed(self, what: str) -> None:
        self.counts[f"{what}, removed"] += 1

    def _sequence(self, element: DataElement, action: Action | None) -> DataElement | None:
        if action is Action.DUMMY:
            # No image needs any of these, and a dummy item would be an invention.
            return None
        if action is Action.EMPTY:
            return DataElement(element.tag, "SQ", Items())
        items = [self.cleaned(item) for item in element.value if self._known_code(item)]
        if element.value and not items:
            return None
        return DataElement(element.tag, "SQ", Items(items))

    def _known_code(self, item: Dataset) -> bool:
        if "CodeMeaning" not in item or item.get("CodingSchemeDesignator") in _SCHEMES:
            return True
        self._count_removed("codes of local coding schemes")
        return False

    def _value(self, element: DataElement, action: Action | None) -> Any:
        """Return the new value; None where the element goes."""
        vr = element.VR
        if action is Action.EMPTY or action is Action.DUMMY:
            kind = _PSEUDONYMS.get(element.keyword)
            if kind is not None and element.value:
                return self._pseudonyms.of(kind, str(element.value))
            return self._dummy(vr) if action is Action.DUMMY else _empty(vr)
        if vr == "UI":
            return _each(element.value, self._pseudonyms.uid)
        if vr in ("DA", "DT"):
            move = moved_date if vr == "DA" else moved_datetime
            return self._each_or_empty(
                element.value, lambda day: move(day, self._days_back), "dates that can't be moved"
            )
        if vr == "AS":
            return self._each_or_empty(element.value, whole_years, "ages that are none")
        if vr in _BYTE_VRS or isinstance(element.value, bytes):
            if element.keyword in _BYTES:
                return element.value
            self._count_removed("blocks of bytes")
            return None
        if vr in _TEXT_VRS:
            return self._text(element)
        if vr in _SHAPES:
            shape = _SHAPES[vr]
            return self._each_or_empty(
                element.value,
                lambda value: value if shape.fullmatch(value) else None,
                "values that are none of their kind",
            )
        return element.value

    def _text(self, element: DataElement) -> Any:
        if element.keyword in _TEXTS:
            return element.value
        if element.keyword == "TimezoneOffsetFromUTC":
            # Without it, intervals over the start of summer time would be off by an hour.
            return element.value if _ZONE.fullmatch(str(element.value)) else None
        self._count_removed("texts that the profile leaves alone")
        return None

    def _each_or_empty(self, value: Any, change: Callable[[str], str | None], what: str) -> Any:
        changed = _each(value, change)
        values = changed if isinstance(changed, list) else [changed]
        if None in values:
            self.counts[f"{what}, emptied"] += 1
            return ""
        return changed

    def _dummy(self, vr: str) -> Any:
        if vr in _DUMMY_NUMBERS:
            return 0
        if vr in _BYTE_VRS:
            return b"\0\0"
        if vr == "UI":
            return self._pseudonyms.uid("dummy")
        return _DUMMIES.get(vr, _DUMMY_TEXT)


def _out_of_place(element: DataElement) -> str | None:
    """Say what is removed whatever the table says of it, or None."""
    tag = element.tag
    if tag.is_private:
        return "private attributes"
    if tag.group & 0xFF00 == 0x5000:
        return "parts of curves"
    if tag.group & 0xFF00 == 0x6000:
        return "parts of overlays"
    if tag.element == 0:
        return None
    if not dictionary_has_tag(tag):
        return "attributes unknown to DICOM"
    # In a file that doesn't name them, the VR may be as open as it is in the dictionary.
    allowed = dictionary_VR(tag)
    if element.VR not in (allowed, *allowed.split(" or ")):
        return "attributes of the wrong kind (VR)"
    return None


# Of those that the table lets be empty or a dummy, the ones by which objects belong together.
_PSEUDONYMS: Final = {
    "AccessionNumber": "accession",
    "ClinicalTrialSubjectID": "subject",
    "PatientID": "patient",
    "PatientName": "name",
    "StudyID": "study",
}


def _empty(vr: str) -> Any:
    return b"" if vr in _BYTE_VRS else ""


def _each(value: Any, change: Callable[[str], Any]) -> Any:
    """Change each value of an element, as text."""
    if isinstance(value, MultiValue | list | tuple):
        return [change(_text_of(one)) for one in value]
    return change(_text_of(value))


def _text_of(value: Any) -> str:
    """Return a value as it stands in the file: 1.50 isn't 1.5."""
    original = getattr(value, "original_string", None)
    return str(original) if original else "" if value is None else str(value)
