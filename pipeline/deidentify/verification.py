"""Checks written files for what must not be there, independently of what wrote them.

It knows nothing of the table of actions, nor of pseudonyms: it has its own list, reads each file
from the disk again, and compares it with the file that it was made from. It looks at attributes,
and then for the original's values in the file's bytes, wherever they may stand.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian, UID_dictionary

# Attributes that may be there only empty, or not at all.
_NOWHERE: Final = frozenset({
    "AcquisitionComments", "AdditionalPatientHistory", "AdmissionID",
    "AdmittingDiagnosesDescription", "Allergies", "CountryOfResidence",
    "CurrentPatientLocation", "DataSetTrailingPadding",
    "DigitalSignaturesSequence", "EncapsulatedDocument", "EthnicGroup", "EvaluatorName",
    "IdentifyingComments", "IconImageSequence", "ImageComments", "ImagePresentationComments",
    "InstitutionAddress", "InstitutionalDepartmentName", "InsurancePlanIdentification",
    "InterpretationText", "IssuerOfPatientID", "MedicalRecordLocator", "MilitaryRank",
    "ModifiedAttributesSequence", "NameOfPhysiciansReadingStudy", "Occupation", "OperatorsName",
    "OriginalAttributesSequence", "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames",
    "PatientAddress", "PatientBirthDate", "PatientBirthName", "PatientBirthTime", "PatientComments",
    "PatientInsurancePlanCodeSequence", "PatientMotherBirthName", "PatientReligiousPreference",
    "PatientSize", "PatientTelephoneNumbers", "PatientTelecomInformation", "PatientWeight",
    "PerformedProcedureStepDescription", "PerformedProcedureStepID", "PerformingPhysicianName",
    "PersonAddress", "PersonTelephoneNumbers", "PhysiciansOfRecord", "PrivateInformation",
    "PrivateInformationCreatorUID", "ReasonForStudy", "ReceivingApplicationEntityTitle",
    "ReferringPhysicianAddress", "ReferringPhysicianName", "ReferringPhysicianTelephoneNumbers",
    "RegionOfResidence", "RequestAttributesSequence", "RequestedProcedureDescription",
    "RequestedProcedureID", "RequestingPhysician", "RequestingService", "ResponsiblePerson",
    "ScheduledPerformingPhysicianName", "SendingApplicationEntityTitle", "SeriesDescription",
    "SourceApplicationEntityTitle", "StudyComments", "StudyDescription", "TextComments",
    "UniqueDeviceIdentifier",
})  # fmt: skip
# Kinds of attribute that hold names and free text; `_ALLOWED` are the exceptions.
_FREE_TEXT: Final = frozenset({"AE", "LT", "PN", "ST", "UC", "UR", "UT"})
_ALLOWED: Final = frozenset({"PatientName"})
_MUST_BE: Final = (
    ("PatientIdentityRemoved", "YES"),
    ("LongitudinalTemporalInformationModified", "MODIFIED"),
)
_AGES: Final = re.compile(r"(0[0-8]\d|090)Y|")
# Elements whose values, of the original, are looked for in the written file: kinds, and names.
_IDENTIFYING_VRS: Final = frozenset({"AE", "LT", "PN", "ST", "UC", "UI", "UR", "UT"})
_IDENTIFYING: Final = re.compile(
    r"ID$|IDs$|Identifier|Number$|Address|Telephone|Institution|Description$|Comments|Serial|"
    r"StationName|Physician|Operator|BirthDate|Occupation|Residence|Ethnic|Religious|History|"
    r"ProtocolName|Location|Locator|Allergies|Alerts|Department|Issuer|Reason|Trial"
)
# Of the letters that text has, and not of numbers alone such as "1" or "512".
_TEXT_VRS: Final = frozenset({"LO", "SH", "DA", *_IDENTIFYING_VRS})
_WRITTEN_TEXT: Final = frozenset({"AS", "CS", "LO", "SH", *_IDENTIFYING_VRS})
# Of these the values are a fixed vocabulary, where a patient called Field meets "Field of view".
_VOCABULARY: Final = frozenset({
    "BodyPartExamined", "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "ImageType",
    "LossyImageCompressionMethod", "Manufacturer", "ManufacturerModelName", "Modality",
    "PatientOrientation", "SoftwareVersions", "SpecificCharacterSet", "ViewPosition",
})  # fmt: skip
# Stands where an object needs a value, here and in what others de-identified.
_DUMMY: Final = "ANONYMIZED"
# Descriptions, and what only the maker knows: often the words of a vocabulary, too.
_DESCRIBING: Final = re.compile(r"Description$|ProtocolName|private attribute")
# The fewest letters of a value that is looked for: in texts, and in all of the file's bytes.
# Fewer stand in a million pixels by chance.
_LEAST_IN_TEXT: Final = 4
_LEAST_IN_BYTES: Final = 8
# Behind the preamble, DICM, and the eight bytes of the first element's tag, VR and length.
_META_LENGTH: Final = 140


@dataclass(frozen=True)
class Finding:
    """Something that is in a written file and must not be.

    Attributes:
        file: the original of the written one: it is what a user can take away.
        what: it is, without the value.
    """

    file: Path
    what: str


def verify(original: Path, written: Path, names: Sequence[str]) -> list[Finding]:
    """Check a written file against the one that it was made from.

    Args:
        original: the file with the patient's data.
        written: the file that is to have none.
        names: of the original's file and folders, in which patients' names may stand.

    Returns:
        Findings; none, where none was found.
    """
    dataset = pydicom.dcmread(written)
    content = _readable(written.read_bytes(), dataset)
    source = pydicom.dcmread(original, stop_before_pixels=True)
    found = [*_structure(dataset, content), *_values(source, dataset, content, names)]
    return [Finding(original, what) for what in dict.fromkeys(found)]


def _readable(content: bytes, dataset: Dataset) -> bytes:
    """Inflate what is deflated (PS3.5, A.5): in those bytes, nothing could be found."""
    if dataset.file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return content
    # PS3.10, 7.1: the meta information begins with the length of its rest.
    (rest,) = struct.unpack_from("<I", content, _META_LENGTH)
    start = _META_LENGTH + 4 + rest
    return content[:start] + zlib.decompress(content[start:], -zlib.MAX_WBITS)


def _structure(dataset: Dataset, content: bytes) -> Iterator[str]:
    if content[:128].strip(b"\0"):
        yield "the 128 bytes in front of the header aren't empty"
    for keyword, value in _MUST_BE:
        if dataset.get(keyword) != value:
            yield f"{keyword} isn't {value}"
    if not dataset.get("DeidentificationMethodCodeSequence"):
        yield "DeidentificationMethodCodeSequence is missing"
    for element in _elements(dataset):
        name = element.keyword or str(element.tag)
        if element.tag.is_private:
            yield f"{name} is a private attribute"
        elif element.tag.group & 0xFF00 in (0x5000, 0x6000):
            yield f"{name} is part of a curve or an overlay"
        elif not element.keyword:
            yield f"{name} is no attribute that DICOM knows"
        elif _is_nothing(element):
            continue
        elif element.keyword in _NOWHERE:
            yield f"{name} has a value"
        elif element.VR in _FREE_TEXT and element.keyword not in _ALLOWED:
            yield f"{name} is free text ({element.VR})"
        elif element.VR == "AS" and not _AGES.fullmatch(str(element.value)):
            yield f"{name} is no age in years, up to 090Y"


def _is_nothing(element: DataElement) -> bool:
    if element.VR == "SQ":
        return not element.value
    return element.value in (None, "", b"") or str(element.value) == _DUMMY


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Go through all elements, in sequences and of the file meta information, too."""
    yield from _below(dataset)
    yield from getattr(dataset, "file_meta", ())


def _below(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _below(item)


def _values(
    source: Dataset, dataset: Dataset, content: bytes, names: Sequence[str]
) -> Iterator[str]:
    texts = _texts(dataset)
    harmless = {text for keyword, text in texts if keyword in _VOCABULARY}
    codes = {str(e.value) for e in _elements(dataset) if e.VR == "CS"}
    # A date that was moved may meet another one of the original, such as the day of birth.
    harmless |= _dates(dataset)
    lowered = content.lower()
    vocabulary = "\0".join(harmless | codes).lower()
    for keyword, value in dict.fromkeys(_identifying(source)):
        if value in harmless or (_DESCRIBING.search(keyword) and value.lower() in vocabulary):
            continue
        encodings = {value.encode("utf-8"), value.encode("latin-1", "replace")}
        if len(value) >= _LEAST_IN_BYTES and any(_in_bytes(c, lowered) for c in encodings):
            yield f"the original's {keyword} stands in the file"
        elif len(value) >= _LEAST_IN_TEXT and (hit := _in_texts(value, texts)):
            yield f"the original's {keyword} stands in {hit}"
    yield from _same_dates(source, dataset)
    # Names of folders are often words; so not in the pixels, nor as a part of something longer.
    header, _, behind = lowered.partition(bytes(dataset.get("PixelData", b"")).lower())
    for name in names:
        if len(name) >= _LEAST_IN_BYTES and name not in harmless:
            word = rb"(?<!\w)" + re.escape(name.lower().encode("utf-8", "replace")) + rb"(?!\w)"
            if re.search(word, header + b"\0" + behind):
                yield "the name of the original's file or folder stands in the file"


def _in_bytes(value: bytes, lowered: bytes) -> bool:
    value = value.lower()
    if not value.isdigit():
        return value in lowered
    # Digits stand in longer numbers by chance.
    return re.search(rb"(?<!\d)" + value + rb"(?!\d)", lowered) is not None


def _texts(dataset: Dataset) -> list[tuple[str, str]]:
    found = []
    for element in _elements(dataset):
        if element.VR in _WRITTEN_TEXT:
            found += [(element.keyword, str(value)) for value in _many(element.value)]
    return found


def _dates(dataset: Dataset) -> set[str]:
    dates = [element for element in _elements(dataset) if element.VR in ("DA", "DT")]
    return {str(value)[:8] for element in dates for value in _many(element.value)}


def _in_texts(value: str, texts: Sequence[tuple[str, str]]) -> str | None:
    word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)", re.IGNORECASE)
    for keyword, text in texts:
        if keyword not in _VOCABULARY and not keyword.startswith("Deidentif") and word.search(text):
            return keyword
    return None


def _identifying(source: Dataset) -> Iterator[tuple[str, str]]:
    """List the original's values that must not be seen again: (keyword, value)."""
    for element in _elements(source):
        # Whatever wrote the file, which may have been pydicom already.
        if element.keyword == "ImplementationClassUID":
            continue
        if element.tag.is_private:
            values = _many(element.value) if element.VR in _TEXT_VRS else ()
        elif element.VR in _IDENTIFYING_VRS or (
            element.VR in _TEXT_VRS and _IDENTIFYING.search(element.keyword)
        ):
            values = _many(element.value)
        else:
            continue
        for value in map(str, values):
            text = value.strip(" \0^")
            known = text in UID_dictionary or text.upper() == _DUMMY
            if known or len(re.findall(r"\w", text)) < 2:
                continue
            yield element.keyword or "private attribute", text
            if element.VR == "PN":
                for part in re.split(r"[\^=\s,]+", text):
                    if len(part) >= _LEAST_IN_TEXT:
                        yield element.keyword, part


def _many(value: object) -> Sequence[object]:
    if isinstance(value, MultiValue | list | tuple):
        return list(value)
    return () if value in (None, "", b"") else (value,)


def _same_dates(source: Dataset, dataset: Dataset) -> Iterator[str]:
    """Look for dates at their place that weren't moved."""
    for element in dataset:
        if element.VR in ("DA", "DT") and element.value:
            original = source.get(element.tag)
            if original is not None and str(original.value)[:8] == str(element.value)[:8]:
                yield f"{element.keyword} is the original's date"
        elif element.VR == "SQ":
            originals = source.get(element.tag)
            pairs = zip(originals.value, element.value, strict=False) if originals else ()
            for before, after in pairs:
                yield from _same_dates(before, after)
