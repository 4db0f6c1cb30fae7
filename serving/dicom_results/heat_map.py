"""A Secondary Capture of one answer: the radiograph with the heat map over it."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from highdicom import PatientOrientationValuesBiped
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from serving.dicom_results.identity import (
    Algorithm,
    content_of,
    content_time,
    header_of,
    series_uid,
    uid_of,
)
from serving.dicom_results.report import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSIS,
    instance_number,
    without_clock,
)
from serving.prediction import Prediction

SERIES_NUMBER: Final = 9002
_SOURCE_IMAGE: Final = CodedConcept("121322", "DCM", "Source image for image processing operation")


def make_heat_map(
    source: Dataset, answer: Prediction, algorithm: Algorithm, picture: np.ndarray
) -> Dataset:
    """Make the picture of an answer's heat map.

    Args:
        source: the image; its pixels aren't looked at.
        answer: for it.
        algorithm: that gave the answer.
        picture: uint8 [height, width, 3] red, green, blue; or [height, width], grey.

    Returns:
        The object, with file meta information.

    Raises:
        ValueError: the image names no study, or its header is damaged; or the picture has
            another shape or type.
    """
    if picture.dtype != np.uint8 or picture.ndim < 2 or picture.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a picture is uint8 [height, width] or [height, width, 3], and not {picture.dtype} "
            f"{list(picture.shape)}"
        )
    header = header_of(source)
    pixels = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
    identity = ("heat map", *content_of(source, answer, algorithm), picture.shape, pixels)
    when = content_time(source, algorithm)
    orientation = _orientation(source)
    made = SCImage.from_ref_dataset(
        header,
        pixel_array=picture,
        photometric_interpretation="RGB" if picture.ndim == 3 else "MONOCHROME2",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # A value is asked for; where the image has none, it is emptied below.
        patient_orientation=orientation or ("L", "F"),
        series_instance_uid=series_uid(source, algorithm, "heat map"),
        series_number=SERIES_NUMBER,
        series_description=f"{algorithm.name} {algorithm.version} heat map: not for diagnosis"[:64],
        sop_instance_uid=uid_of(*identity),
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_date=when.date(),
        content_time=when.time(),
        specific_character_set="ISO_IR 192",
    )
    # It says of which lung an image is; a chest is no such part of the body.
    made.Laterality = ""
    if orientation is None:
        made["PatientOrientation"].value = None
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = DA(when.date()), TM(when.time())
    said = "abstained" if answer.abstain else answer.predicted_class
    if not answer.in_domain:
        said = f"out of domain: {answer.domain_reason}"
    made.DerivationDescription = (
        f"What speaks for the answer of {algorithm.name} {algorithm.version} ({said}), and where. "
        f"SHA-256 of the model: {algorithm.digest}"
    )
    made.ImageComments = NOT_FOR_DIAGNOSIS
    if source.get("BurnedInAnnotation") in ("YES", "NO"):
        made.BurnedInAnnotation = source.BurnedInAnnotation
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_SOURCE_IMAGE]
    made.SourceImageSequence = [reference]
    without_clock(made)
    return made


def _orientation(source: Dataset) -> tuple[str, str] | None:
    try:
        row, column = source.get("PatientOrientation")
        return (
            PatientOrientationValuesBiped(row).value,
            PatientOrientationValuesBiped(column).value,
        )
    except (TypeError, ValueError):
        return None
