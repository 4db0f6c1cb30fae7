"""A radiograph with a patient's data in every corner of the file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)

# None of these may be seen again, wherever they stood.
SECRETS: Final = (
    "Mueller", "Hannelore", "PAT-4711-X", "ACC-99887", "Klinikum", "Dr.Schmidt", "19371124",
    "SN-123456", "AET-ROOM7", "Bahnhofstrasse", "seen by", "WARD-3B", "Geheim", "20240229",
)  # fmt: skip
ROWS: Final = 96


def radiograph(**changes: Any) -> Dataset:
    """A digital radiograph of a patient; `changes` by keyword, None to leave one out."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.StudyInstanceUID = "1.2.3.4.5.6.7.1"
    made.SeriesInstanceUID = "1.2.3.4.5.6.7.2"
    made.SOPInstanceUID = "1.2.3.4.5.6.7.3"
    made.StudyDate = made.AcquisitionDate = made.ContentDate = "20240229"
    made.StudyTime = made.AcquisitionTime = made.ContentTime = "101112.500"
    made.AcquisitionDateTime = "20240229101112.500000+0100"
    made.Modality = "DX"
    made.Manufacturer = "Canon"
    made.ManufacturerModelName = "CXDI"
    made.InstitutionName = "Klinikum Nord"
    made.InstitutionAddress = "Bahnhofstrasse 1"
    made.StationName = "AET-ROOM7"
    made.DeviceSerialNumber = "SN-123456"
    made.ReferringPhysicianName = "Dr.Schmidt^Eva"
    made.StudyDescription = "Chest of Mueller"
    made.SeriesDescription = "seen by Dr.Schmidt"
    made.ImageComments = "WARD-3B Hannelore"
    made.PatientName = "Mueller^Hannelore"
    made.PatientID = "PAT-4711-X"
    made.PatientBirthDate = "19371124"
    made.PatientSex = "F"
    made.PatientAge = "086Y"
    made.PatientSize = "1.63"
    made.OtherPatientNames = "Geheim^Hannelore"
    made.AccessionNumber = "ACC-99887"
    made.StudyID = "77"
    made.SeriesNumber = made.InstanceNumber = "1"
    made.BodyPartExamined = "CHEST"
    made.ViewPosition = "PA"
    made.PatientOrientation = ["L", "F"]
    request = Dataset()
    request.ScheduledProcedureStepDescription = "Mueller"
    made.RequestAttributesSequence = [request]
    region = _code("51185008", "SCT", "Chest")
    modifier = _code("M1", "99KLINIKUM", "as Dr.Schmidt likes it")
    region.AnatomicRegionModifierSequence = [modifier]
    # Deep in what is kept.
    region.PatientComments = "Hannelore"
    region.add_new((0x0009, 0x0010), "LO", "KLINIKUM")
    region.add_new((0x0009, 0x1001), "LT", "Geheim")
    made.AnatomicRegionSequence = [region]
    reference = Dataset()
    reference.ReferencedSOPClassUID = DigitalXRayImageStorageForPresentation
    reference.ReferencedSOPInstanceUID = "1.2.3.4.5.6.7.9"
    made.SourceImageSequence = [reference]
    private = made.private_block(0x0011, "KLINIKUM", create=True)
    private.add_new(0x01, "LO", "Mueller Hannelore")
    made.add_new((0x6000, 0x0010), "US", ROWS)
    made.add_new((0x6000, 0x0011), "US", ROWS)
    made.add_new((0x6000, 0x0022), "LO", "Mueller")
    made.add_new((0x6000, 0x3000), "OW", b"Geheim" * 192)
    made.add_new((0x5000, 0x0022), "LO", "Mueller")
    made.Rows = made.Columns = ROWS
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelSpacing = [0.14, 0.14]
    made.WindowCenter, made.WindowWidth = "2048.50", "4096"
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "0", "1", "US"
    made.add_new("PixelData", "OW", pixels().tobytes())
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.SourceApplicationEntityTitle = "AET-ROOM7"
    made.file_meta.PrivateInformationCreatorUID = UID("1.2.3.4.99")
    made.file_meta.PrivateInformation = b"Mueller!"
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def pixels() -> np.ndarray:
    """Twelve bits, uint16 [96, 96], darker to the edges."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : ROWS * 1j]
    return (4000 * np.clip(1 - (x**2 + y**2) / 2, 0, 1)).astype(np.uint16)


def compressed(**changes: Any) -> Dataset:
    """The same as baseline JPEG, with a comment in its stream."""
    made = radiograph(BitsAllocated=8, BitsStored=8, HighBit=7, **changes)
    stream = BytesIO()
    Image.fromarray((pixels() >> 4).astype(np.uint8)).save(
        stream, "JPEG", comment=b"Mueller Hannelore"
    )
    content = stream.getvalue()
    made.PixelData = encapsulate([content + b"\0" * (len(content) % 2)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return made


def save(dataset: Dataset, file: Path) -> Path:
    """Writes it, with something in the bytes in front of the header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.preamble = b"Mueller".ljust(128, b"\0")
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file


def another(number: int, **changes: Any) -> Dataset:
    """One more image of the same patient and study."""
    return radiograph(SOPInstanceUID=generate_uid(entropy_srcs=[str(number)]), **changes)
