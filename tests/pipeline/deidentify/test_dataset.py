"""A header is made anew without what identifies, wherever that stood."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.deidentify.dataset import clean
from pipeline.deidentify.pseudonyms import Pseudonyms
from tests.pipeline.deidentify.radiographs import radiograph

TOKEN = "SECRETNAME"
VOCABULARY = {
    "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "DetectorManufacturerName", "DetectorManufacturerModelName", "LUTExplanation", "LongCodeValue",
    "Manufacturer", "ManufacturerModelName", "ModalityLUTType", "RescaleType", "SoftwareVersions",
    "WindowCenterWidthExplanation",
}  # fmt: skip


@pytest.fixture
def pseudonyms(salt: bytes) -> Pseudonyms:
    return Pseudonyms(salt)


def test_no_text_of_any_attribute_of_the_dictionary_survives(pseudonyms: Pseudonyms) -> None:
    """All of DICOM's attributes that can hold letters, at the top and in a kept sequence."""
    source, nested = radiograph(), Dataset()
    texts = {"LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "UR", "OB", "UN"}
    filled = 0
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in texts and keyword not in {*VOCABULARY, "PixelData"} and tag >> 16 > 2:
            for target in (source, nested):
                target.add_new(tag, vr, TOKEN.encode() if vr in ("OB", "UN") else TOKEN)
            filled += 1
    assert filled > 700
    source.AnatomicRegionSequence = [nested]
    made = clean(source, pseudonyms).dataset
    assert TOKEN not in str(made)
    assert len(made.AnatomicRegionSequence[0]) > 10


def test_a_name_in_an_attribute_for_numbers_or_codes_goes(pseudonyms: Pseudonyms) -> None:
    source = radiograph()
    for keyword, vr in (("KVP", "DS"), ("Exposure", "IS"), ("ContentTime", "TM"), ("Grid", "CS")):
        source.add_new(keyword, vr, "1")
        # Past the checks of pydicom, as a file may hold it.
        source[keyword]._value = "Mueller"
    cleaned = clean(source, pseudonyms)
    assert "Mueller" not in str(cleaned.dataset)
    assert cleaned.counts["values that are none of their kind, emptied"] == 4


def test_what_the_task_needs_stays(pseudonyms: Pseudonyms) -> None:
    made = clean(radiograph(), pseudonyms).dataset
    assert (made.PatientAge, made.PatientSex) == ("086Y", "F")
    assert (made.Modality, made.ViewPosition, made.BodyPartExamined) == ("DX", "PA", "CHEST")
    assert (made.Manufacturer, made.PixelSpacing) == ("Canon", [0.14, 0.14])
    assert made["WindowCenter"].value.original_string == "2048.50"
    assert made.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert made.AcquisitionDateTime[8:] == "101112.500000+0100"
    assert made.AcquisitionDateTime[:8] == made.StudyDate != "20240229"
    assert "PatientSize" not in made


def test_the_file_says_how_it_was_de_identified(pseudonyms: Pseudonyms) -> None:
    made = clean(radiograph(), pseudonyms).dataset
    codes = [code.CodeValue for code in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    assert all(len(text) <= 64 for text in made.DeidentificationMethod)
    assert "PrivateInformation" not in made.file_meta
    assert "SourceApplicationEntityTitle" not in made.file_meta
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID != "1.2.3.4.5.6.7.3"


def test_references_lead_to_the_new_objects(pseudonyms: Pseudonyms) -> None:
    made = clean(radiograph(), pseudonyms).dataset
    target = clean(radiograph(SOPInstanceUID="1.2.3.4.5.6.7.9"), pseudonyms).dataset
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == target.SOPInstanceUID
    assert made.StudyInstanceUID == target.StudyInstanceUID


def test_local_codes_go_and_what_was_taken_out_is_counted(pseudonyms: Pseudonyms) -> None:
    cleaned = clean(radiograph(), pseudonyms)
    assert "AnatomicRegionModifierSequence" not in cleaned.dataset.AnatomicRegionSequence[0]
    assert cleaned.counts["codes of local coding schemes, removed"] == 1
    assert cleaned.counts["parts of overlays, removed"] == 4
    assert cleaned.counts["parts of curves, removed"] == 1
    assert cleaned.counts["private attributes, removed"] == 4


@pytest.mark.parametrize("patient", [None, "", "  "])
def test_without_a_patients_id_the_study_is_the_patient(
    pseudonyms: Pseudonyms, patient: str | None
) -> None:
    cleaned = clean(radiograph(PatientID=patient), pseudonyms)
    assert cleaned.patient == clean(radiograph(PatientID=patient), pseudonyms).patient
    other = clean(radiograph(PatientID=patient, StudyInstanceUID="1.2.3"), pseudonyms)
    assert cleaned.patient != other.patient
    assert sum("without a patient ID" in what for what in cleaned.counts) == 1


def test_the_issuer_of_an_id_doesnt_make_two_patients_of_one(pseudonyms: Pseudonyms) -> None:
    one = clean(radiograph(), pseudonyms)
    other = clean(radiograph(IssuerOfPatientID="Klinikum"), pseudonyms)
    assert one.patient == other.patient
    assert "IssuerOfPatientID" not in other.dataset


@pytest.mark.parametrize(
    ("changes", "age"),
    [
        ({"PatientAge": None}, "086Y"),
        ({"PatientAge": ""}, "086Y"),
        ({"PatientAge": "099Y"}, "090Y"),
        ({"PatientAge": None, "PatientBirthDate": ""}, None),
    ],
)
def test_ages(pseudonyms: Pseudonyms, changes: dict[str, Any], age: str | None) -> None:
    made = clean(radiograph(**changes), pseudonyms).dataset
    assert made.get("PatientAge") == age
    assert made.PatientBirthDate == ""


def test_a_date_that_cant_be_moved_is_emptied_and_counted(pseudonyms: Pseudonyms) -> None:
    source = radiograph()
    source["AcquisitionDate"]._value = "29 Feb 2024"
    cleaned = clean(source, pseudonyms)
    assert cleaned.dataset.AcquisitionDate == ""
    assert cleaned.counts["dates that can't be moved, emptied"] == 1


def test_an_attribute_of_the_wrong_kind_or_unknown_goes(pseudonyms: Pseudonyms) -> None:
    source = radiograph(ImageType=None)
    source.add_new("ImageType", "LT", "Mueller")
    source.add_new((0x0018, 0xFF02), "LO", "Mueller")
    source.add_new((0x0018, 0x0000), "UL", 12)
    cleaned = clean(source, pseudonyms)
    assert "Mueller" not in str(cleaned.dataset)
    assert cleaned.counts["attributes of the wrong kind (VR), removed"] == 1
    assert cleaned.counts["attributes unknown to DICOM, removed"] == 1


def test_the_source_isnt_changed(pseudonyms: Pseudonyms) -> None:
    source = radiograph()
    before = str(source)
    clean(source, pseudonyms)
    assert str(source) == before
    assert source.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert isinstance(source.RequestAttributesSequence, Items)
