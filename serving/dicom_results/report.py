"""A Structured Report of one answer: Comprehensive 3D SR, TID 1500."""

from __future__ import annotations

from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from schema import contract
from serving.dicom_results import coding
from serving.dicom_results.identity import (
    Algorithm,
    content_of,
    content_time,
    header_of,
    rounded,
    series_uid,
    uid_of,
)
from serving.prediction import Prediction

MANUFACTURER: Final = "cxr-tfx"
SERIES_NUMBER: Final = 9001
NOT_FOR_DIAGNOSIS: Final = (
    "Not for diagnosis. A research model gave this answer; it tells sources of images apart as "
    "much as illnesses."
)
_REASONS: Final = {
    contract.DOMAIN_BLANK: "there is hardly anything in it",
    contract.DOMAIN_INVERTED: "its grey levels seem to be inverted",
    contract.DOMAIN_TURNED: "it seems to be turned",
    contract.DOMAIN_UNLIKE: "it doesn't look like a radiograph that the model learned from",
}
_BESIDE: Final = "The answer is to the image and to values beside it: "
_ABSTAINED: Final = "The model abstained: it is too unsure, and a person has to look at the image. "


def make_report(source: Dataset, answer: Prediction, algorithm: Algorithm) -> Dataset:
    """Make the report.

    An abstained answer names no class: what is said of it is that the model abstained. Nor does
    one to an image that the model's input gate keeps out. Probabilities are there all the same.
    Where columns of a table were asked beside the image, their names are there.

    Args:
        source: the image; its pixels aren't looked at.
        answer: for it.
        algorithm: that gave the answer.

    Returns:
        The object, with file meta information.

    Raises:
        ValueError: the image names no study, or its header is damaged.
    """
    header = header_of(source)
    content = content_of(source, answer, algorithm)
    uid = uid_of("report", *content)
    identification = sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        manufacturer=MANUFACTURER,
        parameters=[f"SHA-256 of the model: {algorithm.digest}"],
    )
    verdict = coding.ABSTAINED if answer.abstain else coding.class_code(answer.predicted_class)
    text = (_ABSTAINED if answer.abstain else "") + NOT_FOR_DIAGNOSIS
    if answer.columns:
        # Their names, which say what the class may stand on; the values are the patient's.
        text = f"{_BESIDE}{', '.join(answer.columns)}. {text}"
    if not answer.in_domain:
        verdict = coding.OUT_OF_DOMAIN
        why = _REASONS.get(str(answer.domain_reason), str(answer.domain_reason))
        text = f"The answer means nothing for this image: {why}. {NOT_FOR_DIAGNOSIS}"
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid_of("finding", *content), "Classification"),
        algorithm_id=identification,
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(header)],
        measurements=[
            sr.Measurement(coding.probability_code(name), value, coding.NO_UNITS)
            for name, value in rounded(answer.probabilities).items()
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(coding.ANSWER, verdict),
            sr.QualitativeEvaluation(coding.INTENDED_USE, coding.NOT_FOR_DIAGNOSIS),
        ],
    )
    # TID 1501 may be extended, and has no place for a text.
    group[0].ContentSequence.append(
        sr.TextContentItem(coding.COMMENT, text, sr.RelationshipTypeValues.CONTAINS)
    )
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", algorithm.name, algorithm.version, algorithm.digest),
        name=algorithm.name,
        manufacturer_name=MANUFACTURER,
    )
    tree = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=coding.CHEST_RADIOGRAPH,
        imaging_measurements=[group],
    )
    when = content_time(source, algorithm)
    report = sr.Comprehensive3DSR(
        evidence=[header],
        content=tree,
        series_instance_uid=series_uid(source, algorithm, "report"),
        series_number=SERIES_NUMBER,
        series_description=f"{algorithm.name} {algorithm.version}: not for diagnosis"[:64],
        sop_instance_uid=uid,
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        is_complete=True,
        content_date=when.date(),
        content_time=when.time(),
        coding_schemes=[coding.scheme_identification()],
        # The image's own may lack letters of the classes.
        specific_character_set="ISO_IR 192",
    )
    without_clock(report)
    return report


def instance_number(source: Dataset) -> int:
    """Return the image's own number, or 1."""
    try:
        return max(1, int(source.InstanceNumber))
    except (AttributeError, TypeError, ValueError):
        return 1


def without_clock(made: Dataset) -> None:
    """Take out when this object was made: it is one object, however often it is made."""
    del made.InstanceCreationDate, made.InstanceCreationTime
    for equipment in made.ContributingEquipmentSequence:
        # The image's own equipment has the time of the image.
        purpose = equipment.PurposeOfReferenceCodeSequence[0].CodeValue
        if purpose == codes.DCM.ProcessingEquipment.value:
            del equipment.ContributionDateTime
