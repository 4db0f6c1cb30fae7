"""Reports and heat maps say what they have to, in the image's study, and are always the same."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID

from schema import contract
from serving.dicom_results import coding, identity
from serving.dicom_results.files import encoded
from serving.dicom_results.heat_map import make_heat_map
from serving.dicom_results.identity import Algorithm, content_time, uid_of
from serving.dicom_results.report import NOT_FOR_DIAGNOSIS, make_report
from serving.prediction import Prediction
from tests.pipeline.deidentify.radiographs import radiograph

BARE = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "AcquisitionDate", "ContentDate",
    "AcquisitionTime", "ContentTime", "PatientOrientation", "InstanceNumber", "Manufacturer",
    "AcquisitionDateTime", "SpecificCharacterSet",
)  # fmt: skip


def group_of(report: Dataset) -> Any:
    """The measurement group of a report, read again from its bytes by highdicom's parser."""
    read: Any = highdicom.sr.srread(BytesIO(encoded(report)))
    (group,) = read.content.get_image_measurement_groups()
    return group


def texts_of(item: Dataset) -> list[str]:
    found = [str(item.TextValue)] if "TextValue" in item else []
    for below in item.get("ContentSequence", ()):
        found += texts_of(below)
    return found


def test_a_report_says_class_probabilities_model_and_what_it_isnt_for(
    algorithm: Algorithm, answer: Prediction
) -> None:
    report = make_report(radiograph(), answer, algorithm)
    group = group_of(report)
    evaluations = {e.name.meaning: e.value for e in group.get_qualitative_evaluations()}
    verdict = evaluations["Answer of the classifier"]
    assert (verdict.value, verdict.scheme_designator) == ("840539006", "SCT")
    assert evaluations["Intended use"] == coding.NOT_FOR_DIAGNOSIS
    measured = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
    assert measured == {
        "Probability of COVID-19": (0.712346, "1"),
        "Probability of NORMAL": (0.2, "1"),
        "Probability of Viral Pneumonia": (0.087654, "1"),
    }
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == "1.2.3.4.5.6.7.3"
    texts = texts_of(report)
    assert {"champion", "1795926600"} <= set(texts)
    assert f"SHA-256 of the model: {'ab' * 32}" in texts
    assert any(text.startswith("Not for diagnosis") for text in texts)


def test_an_abstained_answer_names_no_class(algorithm: Algorithm, answer: Prediction) -> None:
    report = make_report(radiograph(), replace(answer, abstain=True), algorithm)
    evaluations = {e.name.meaning: e.value for e in group_of(report).get_qualitative_evaluations()}
    assert evaluations["Answer of the classifier"] == coding.ABSTAINED
    assert "840539006" not in str(report)
    assert any(text.startswith("The model abstained") for text in texts_of(report))


def test_a_report_names_the_columns_that_the_answer_is_to_and_no_value(
    algorithm: Algorithm, answer: Prediction
) -> None:
    alone = texts_of(make_report(radiograph(), answer, algorithm))
    texts = texts_of(make_report(radiograph(), replace(answer, columns=("crp", "sex")), algorithm))
    said = "The answer is to the image and to values beside it: crp, sex. "
    (with_names,) = set(texts) - set(alone)
    assert with_names.startswith(said)
    assert with_names.removeprefix(said) in alone


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (contract.DOMAIN_BLANK, "there is hardly anything in it"),
        (contract.DOMAIN_INVERTED, "its grey levels seem to be inverted"),
        (contract.DOMAIN_TURNED, "it seems to be turned"),
        (contract.DOMAIN_UNLIKE, "it doesn't look like a radiograph that the model learned from"),
        # Of a model that knows more reasons than this program.
        ("sideways", "sideways"),
    ],
)
@pytest.mark.parametrize("abstain", [False, True])
def test_an_answer_to_an_image_out_of_domain_names_no_class_and_says_why(
    algorithm: Algorithm,
    answer: Prediction,
    picture: np.ndarray,
    reason: str,
    said: str,
    abstain: bool,
) -> None:
    out = replace(answer, abstain=abstain, domain_reason=reason)
    report = make_report(radiograph(), out, algorithm)
    evaluations = {e.name.meaning: e.value for e in group_of(report).get_qualitative_evaluations()}
    assert evaluations["Answer of the classifier"] == coding.OUT_OF_DOMAIN
    assert "840539006" not in str(report)
    text = f"The answer means nothing for this image: {said}. {NOT_FOR_DIAGNOSIS}"
    assert text in texts_of(report)
    heat = make_heat_map(radiograph(), out, algorithm, picture)
    assert f"(out of domain: {reason})" in heat.DerivationDescription
    assert answer.predicted_class not in heat.DerivationDescription


def test_an_image_within_has_the_results_that_it_had_before_there_were_gates(
    algorithm: Algorithm, answer: Prediction
) -> None:
    within = replace(answer, domain_reason=contract.DOMAIN_OK)
    first, second = (make_report(radiograph(), each, algorithm) for each in (answer, within))
    assert encoded(first) == encoded(second)
    out = replace(answer, domain_reason=contract.DOMAIN_TURNED)
    other = make_report(radiograph(), out, algorithm)
    assert other.SOPInstanceUID != first.SOPInstanceUID


def test_both_lie_in_the_images_study_in_a_series_of_their_own(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    source = radiograph()
    report = make_report(source, answer, algorithm)
    heat = make_heat_map(source, answer, algorithm, picture)
    for made in (report, heat):
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert (made.PatientID, made.PatientName) == (source.PatientID, source.PatientName)
        assert made.AccessionNumber == source.AccessionNumber
        assert "not for diagnosis" in made.SeriesDescription
    series = {source.SeriesInstanceUID, report.SeriesInstanceUID, heat.SeriesInstanceUID}
    assert len(series) == 3
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (reference,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    other = radiograph(SOPInstanceUID="1.2.3.4.5.6.7.4")
    assert make_report(other, answer, algorithm).SeriesInstanceUID == report.SeriesInstanceUID


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_a_heat_map_holds_the_picture_and_where_it_is_from(
    algorithm: Algorithm, answer: Prediction, shape: tuple[int, ...]
) -> None:
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    made = make_heat_map(radiograph(), answer, algorithm, picture)
    read = pydicom.dcmread(BytesIO(encoded(made)))
    assert np.array_equal(read.pixel_array, picture)
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5.6.7.3"
    assert "ab" * 32 in read.DerivationDescription
    assert read.ImageComments.startswith("Not for diagnosis")
    assert read.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert read.PatientOrientation == ["L", "F"]
    assert "BurnedInAnnotation" not in read


def test_burned_in_text_of_the_image_is_in_the_heat_map_too(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    source = radiograph(BurnedInAnnotation="YES")
    assert make_heat_map(source, answer, algorithm, picture).BurnedInAnnotation == "YES"


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_a_picture_of_another_kind_is_refused(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        make_heat_map(radiograph(), answer, algorithm, picture)


class Later(datetime.datetime):
    """A clock that is years ahead."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Later:
        return cls(2031, 5, 6, 7, 8, 9, 10)


def test_the_same_result_is_the_same_object_whenever_it_is_made(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> list[bytes]:
        source = radiograph()
        report = make_report(source, answer, algorithm)
        return [encoded(report), encoded(make_heat_map(source, answer, algorithm, picture))]

    before = made()
    for module in (highdicom.base, highdicom.content, highdicom.sr.sop, highdicom.sc.sop):
        monkeypatch.setattr(module.datetime, "datetime", Later)
    assert made() == before
    assert all(b"2031" not in content for content in before)


CHANGES: dict[str, Callable[[Dataset, Prediction, Algorithm], tuple[Any, ...]]] = {
    "model": lambda s, a, m: (s, a, replace(m, digest="cd" * 32)),
    "version": lambda s, a, m: (s, a, replace(m, version="1795926601")),
    "name": lambda s, a, m: (s, a, replace(m, name="vgg16")),
    "class": lambda s, a, m: (s, replace(a, predicted_class="NORMAL"), m),
    "abstained": lambda s, a, m: (s, replace(a, abstain=True), m),
    "probability": lambda s, a, m: (
        s,
        replace(a, probabilities={**a.probabilities, "NORMAL": 0.200001}),
        m,
    ),
    "columns": lambda s, a, m: (s, replace(a, columns=("crp",)), m),
    "image": lambda s, a, m: (radiograph(SOPInstanceUID="1.2.3.4.5.6.7.4"), a, m),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_answer_or_image_is_another_object(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray, change: str
) -> None:
    first = (radiograph(), answer, algorithm)
    second = CHANGES[change](*first)
    for make in (make_report, lambda s, a, m: make_heat_map(s, a, m, picture)):
        uids = [str(make(*inputs).SOPInstanceUID) for inputs in (first, second)]
        assert uids[0] != uids[1]
        assert all(UID(uid).is_valid for uid in uids)


def test_another_picture_is_another_heat_map(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    one, other = (
        make_heat_map(radiograph(), answer, algorithm, drawn) for drawn in (picture, picture ^ 1)
    )
    assert one.SOPInstanceUID != other.SOPInstanceUID


def test_what_the_objects_dont_hold_is_no_part_of_their_identity(
    algorithm: Algorithm, answer: Prediction
) -> None:
    close = {**answer.probabilities, "NORMAL": 0.2 + 1e-9}
    one = make_report(radiograph(), answer, algorithm)
    other = make_report(radiograph(), replace(answer, probabilities=close), algorithm)
    assert encoded(one) == encoded(other)


def test_an_image_of_which_little_is_known_has_results_all_the_same(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    source = radiograph(**dict.fromkeys(BARE))
    report = pydicom.dcmread(BytesIO(encoded(make_report(source, answer, algorithm))))
    heat = pydicom.dcmread(BytesIO(encoded(make_heat_map(source, answer, algorithm, picture))))
    for made in (report, heat):
        assert (made.PatientID, made.PatientName, made.StudyDate) == ("", "", "")
        assert (made.ContentDate, made.ContentTime) == ("20261129", "043000")
    assert not heat.PatientOrientation


def test_names_in_any_alphabet_survive(
    algorithm: Algorithm, answer: Prediction, picture: np.ndarray
) -> None:
    source = radiograph(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    content = BytesIO()
    pydicom.dcmwrite(content, source, enforce_file_format=True)
    source = pydicom.dcmread(BytesIO(content.getvalue()))
    named = replace(answer, predicted_class="肺炎", probabilities={"肺炎": 1.0})
    for made in (
        make_report(source, named, algorithm),
        make_heat_map(source, named, algorithm, picture),
    ):
        read = pydicom.dcmread(BytesIO(encoded(made)))
        assert str(read.PatientName) == "Müller^Jürgen"
        assert "肺炎" in str(read)


@pytest.mark.parametrize("name", identity.REQUIRED)
def test_an_image_without_a_study_has_no_results(
    algorithm: Algorithm, answer: Prediction, name: str
) -> None:
    source = radiograph()
    delattr(source, name)
    if name != "SOPInstanceUID":
        with pytest.raises(ValueError, match=f"has no {name}"):
            make_report(source, answer, algorithm)


def test_the_contents_date_is_the_first_at_which_it_could_be(algorithm: Algorithm) -> None:
    pushed = datetime.datetime(2026, 11, 29, 4, 30)
    assert content_time(radiograph(), algorithm) == pushed
    later = radiograph(AcquisitionDate="20270102", AcquisitionTime="0304")
    assert content_time(later, algorithm) == datetime.datetime(2027, 1, 2, 3, 4)
    broken = radiograph(AcquisitionTime=None, ContentTime=None)
    broken["AcquisitionDate"]._value = "tomorrow"
    broken.ContentDate = "20280102"
    assert content_time(broken, algorithm) == datetime.datetime(2028, 1, 2)


@given(st.text(min_size=1, max_size=200))
def test_every_name_of_a_class_has_a_valid_code(name: str) -> None:
    for code in (coding.class_code(name), coding.probability_code(name)):
        assert 1 <= len(code.value) <= 16
        assert 1 <= len(code.meaning) <= 64
        assert code.scheme_designator in ("SCT", coding.SCHEME)


@given(st.lists(st.text() | st.integers() | st.booleans()))
def test_uids_are_valid(parts: list[Any]) -> None:
    assert UID(uid_of(*parts)).is_valid
    assert uid_of(*parts) == uid_of(*parts)
