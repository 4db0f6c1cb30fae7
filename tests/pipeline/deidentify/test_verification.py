"""The check sees each mistake that the cleaning might make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.deidentify.folder import deidentify
from pipeline.deidentify.verification import verify
from tests.pipeline.deidentify.radiographs import compressed, radiograph, save


@pytest.fixture
def pair(tmp_path: Path, salt: bytes) -> tuple[Path, Path]:
    """An original and what was made of it."""
    original = save(radiograph(), tmp_path / "in" / "a.dcm")
    (place,) = deidentify(original, tmp_path / "out", salt).written.values()
    return original, tmp_path / "out" / place


def _private(dataset: Dataset) -> None:
    dataset.private_block(0x0011, "X", create=True).add_new(1, "LO", "nothing")


def _deep(dataset: Dataset) -> None:
    dataset.AnatomicRegionSequence[0].PatientComments = "well"


MISTAKES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "name": (lambda d: setattr(d, "PatientName", "Mueller^Hannelore"), "PatientName stands in"),
    "part": (lambda d: setattr(d, "PatientName", "x Mueller"), "PatientName stands in"),
    "case": (lambda d: setattr(d, "ContentLabel", "MUELLER"), "PatientName stands in ContentLabel"),
    "id": (lambda d: setattr(d, "PatientID", "PAT-4711-X"), "PatientID stands in"),
    "birth": (lambda d: setattr(d, "PatientBirthDate", "19371124"), "PatientBirthDate has a value"),
    "uid": (lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3.4.5.6.7.1"), "InstanceUID stands"),
    "date": (lambda d: setattr(d, "StudyDate", "20240229"), "StudyDate is the original's date"),
    "time": (
        lambda d: setattr(d, "AcquisitionDateTime", "20240229101112"),
        "AcquisitionDateTime is the original's date",
    ),
    "serial": (lambda d: setattr(d, "DeviceSerialNumber", "SN-123456"), "DeviceSerialNumber"),
    "private": (_private, "is a private attribute"),
    "deep": (_deep, "PatientComments has a value"),
    "overlay": (lambda d: d.add_new((0x6000, 0x0022), "LO", "x"), "curve or an overlay"),
    "unknown": (lambda d: d.add_new((0x0018, 0xFF02), "LO", "x"), "no attribute that DICOM knows"),
    "text": (lambda d: setattr(d, "FrameComments", "fine"), "free text"),
    "age": (lambda d: setattr(d, "PatientAge", "093Y"), "no age in years"),
    "months": (lambda d: setattr(d, "PatientAge", "010M"), "no age in years"),
    "flag": (lambda d: delattr(d, "PatientIdentityRemoved"), "PatientIdentityRemoved isn't YES"),
    "method": (lambda d: delattr(d, "DeidentificationMethodCodeSequence"), "is missing"),
    "entity": (
        lambda d: setattr(d.file_meta, "SourceApplicationEntityTitle", "PACS"),
        "SourceApplicationEntityTitle has a value",
    ),
    "preamble": (lambda d: setattr(d, "preamble", b"x" * 128), "128 bytes in front"),
    "pixels": (
        lambda d: setattr(d, "PixelData", b"Mueller^Hannelore." + d.PixelData[18:]),
        "PatientName stands in the file",
    ),
    "folder": (lambda d: setattr(d, "ContentLabel", "HANSMEIER 1"), "name of the original's file"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found(pair: tuple[Path, Path], name: str) -> None:
    original, written = pair
    names = ["hansmeier", "a.dcm"]
    assert verify(original, written, names) == []
    mistake, expected = MISTAKES[name]
    dataset = pydicom.dcmread(written)
    mistake(dataset)
    pydicom.dcmwrite(written, dataset)
    found = [finding.what for finding in verify(original, written, names)]
    assert any(expected in what for what in found), found
    assert "Mueller" not in str(found), "a finding shows no value"


def test_what_is_deflated_is_looked_into(tmp_path: Path, salt: bytes) -> None:
    source = radiograph()
    source.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    original = save(source, tmp_path / "in" / "a.dcm")
    (place,) = deidentify(original, tmp_path / "out", salt).written.values()
    written = tmp_path / "out" / place
    assert verify(original, written, []) == []
    dataset = pydicom.dcmread(written)
    MISTAKES["pixels"][0](dataset)
    pydicom.dcmwrite(written, dataset)
    found = [finding.what for finding in verify(original, written, [])]
    assert "the original's PatientName stands in the file" in found


def test_a_comment_in_the_compressed_stream_is_found(tmp_path: Path, salt: bytes) -> None:
    original = save(compressed(), tmp_path / "in" / "a.dcm")
    (place,) = deidentify(original, tmp_path / "out", salt).written.values()
    written = tmp_path / "out" / place
    assert verify(original, written, []) == []
    dataset = pydicom.dcmread(written)
    dataset.PixelData = compressed(PatientName="x").PixelData.replace(b" Hanne", b"^Hanne")
    pydicom.dcmwrite(written, dataset)
    found = [finding.what for finding in verify(original, written, [])]
    assert "the original's PatientName stands in the file" in found


def test_words_of_a_vocabulary_are_no_finding(tmp_path: Path, salt: bytes) -> None:
    """A description that says no more than the codes, and a maker of a patient's name."""
    source = radiograph(StudyDescription="CHEST", ProtocolName="Canon", PatientName="Chest^Canon")
    original = save(source, tmp_path / "in" / "a.dcm")
    assert len(deidentify(original, tmp_path / "out", salt).written) == 1
