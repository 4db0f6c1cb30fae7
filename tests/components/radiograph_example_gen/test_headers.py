"""DICOM headers become columns; whoever is pictured stays unnamed."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydicom.dataset import Dataset

from common.errors import InputError
from components.radiograph_example_gen import salt as salts
from components.radiograph_example_gen.discovery import Kind
from components.radiograph_example_gen.headers import read_header
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from schema import contract
from tests.dicoms import dataset, encoded, phantom

_SALT = b"s" * 32


def _header(**elements: Any) -> Any:
    return read_header(encoded(dataset(phantom(8), **elements)), _SALT)


def test_columns_of_a_header() -> None:
    found = _header(
        PatientID="P1",
        PatientSex="F",
        PatientAge="061Y",
        ViewPosition="PA",
        Manufacturer="Maker",
        InstitutionName="House",
        ImagerPixelSpacing=[0.139, 0.139],
        PresentationIntentType="FOR PRESENTATION",
        WindowCenter=9,
        WindowWidth=9,
    )
    patient = found.text.pop("patient_id")
    assert len(patient) == 32
    assert found.text == {
        "sex": "F",
        "view": "PA",
        "modality": "DX",
        "manufacturer": "Maker",
        "institution": "House",
        "pixel_spacing": "0.139×0.139",
        "presentation_intent": "FOR PRESENTATION",
        "age_group": "adult",
    }
    assert (found.numbers, found.unread) == ({"age": 61.0}, ())


@pytest.mark.parametrize(
    ("elements", "age", "group"),
    [
        ({"PatientAge": "018M"}, 1.5, "child"),
        ({"PatientBirthDate": "20000301", "StudyDate": "20180228"}, 17.0, "child"),
        ({"PatientBirthDate": "20000301", "StudyDate": "20180302"}, 18.0, "adult"),
        ({"PatientBirthDate": "20000301"}, None, None),
        ({"PatientAge": "998Y"}, None, None),
    ],
)
def test_an_age_in_years(elements: dict[str, str], age: float | None, group: str | None) -> None:
    found = _header(**elements)
    assert (found.numbers.get("age"), found.text.get("age_group")) == (age, group)
    assert found.unread == (("PatientAge",) if "998Y" in elements.values() else ())


def test_views_by_code() -> None:
    item = Dataset()
    item.CodeMeaning = "Postero-anterior"
    assert _header(ViewCodeSequence=[item]).text["view"] == "PA"
    assert _header(ViewPosition="LLD").unread == ("ViewPosition",)
    assert _header(PatientSex="O").unread == ("PatientSex",)
    assert "view" not in _header().text


def test_a_patient_has_another_name_with_another_salt_and_the_same_in_all_images() -> None:
    def name(patient: str, salt: bytes = _SALT, **elements: Any) -> str | None:
        content = encoded(dataset(phantom(8), PatientID=patient, **elements))
        found: str | None = read_header(content, salt).text.get("patient_id")
        return found

    assert name("P1") == name(" P1") == name("P1", WindowCenter=3, WindowWidth=3)
    names = {name("P1"), name("P2"), name("P1", b"t" * 32), name("P1", IssuerOfPatientID="H")}
    assert len(names) == 4
    for unknown in ("", "0000", "ANONYMOUS", "anonymized"):
        assert name(unknown) is None


def test_a_malformed_element_is_unknown_and_named() -> None:
    found = dataset(phantom(8))
    found.add_new("ImagerPixelSpacing", "LO", "wide")
    header = read_header(encoded(found), _SALT)
    assert header.unread == ("ImagerPixelSpacing",)
    assert "pixel_spacing" not in header.text


_SECRET = ("DOE^JANE", "MRN-4711", "20210203", "19600101", "20210210")


def _study(tree: Any, **elements: Any) -> None:
    """Turn Normal into DICOMs of two images a patient, a week apart."""
    for index, path in enumerate(sorted((tree.root / "Normal").glob("*.png"))):
        pixels = np.asarray(Image.open(path))
        found = dataset(
            pixels,
            PatientName=_SECRET[0],
            PatientID=f"{_SECRET[1]}{index // 2}",
            PatientBirthDate=_SECRET[3],
            StudyDate=_SECRET[4] if index % 2 else _SECRET[2],
            PatientSex="F",
            ViewPosition="AP",
            Manufacturer="Maker",
            **elements,
        )
        path.with_suffix(".dcm").write_bytes(encoded(found))
        path.unlink()


def _features(run: Any) -> dict[str, Any]:
    files = [str(path) for path in Path(run.examples.uri).rglob("*.gz")]
    found = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
    features = [tf.train.Example.FromString(item).features.feature for item in found]
    return {each[contract.PATH].bytes_list.value[0].decode(): each for each in features}


_COLUMNS = ("manufacturer", "days_since_first", "pixel_spacing")


def test_nobody_is_named_in_what_is_written(
    tree: Any, run_executor: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _study(tree, ImagerPixelSpacing=[0.2, 0.2])
    run = run_executor(tree.root, columns=_COLUMNS)
    features = _features(run)
    (first,) = {
        tuple(value.bytes_list.value[0].decode() for value in values)
        for path, each in features.items()
        if path == "Normal/1.dcm"
        for values in [
            [each[contract.SEX], each[contract.VIEW], each[contract.AGE_GROUP]]
            + [each[f"metadata/{name}"] for name in _COLUMNS]
        ]
    }
    assert first == ("F", "AP", "adult", "Maker", "7", "0.2×0.2")
    assert features["Normal/0.dcm"][contract.AGE].float_list.value == [61.0]
    assert features["COVID-19/0.png"]["metadata/manufacturer"].bytes_list.value == [b"unknown"]
    patients = {entry.file: entry.patient for entry in read_manifest(run.manifest.uri)}
    assert patients["Normal/0.dcm"] == patients["Normal/1.dcm"] != patients["Normal/2.dcm"]
    splits = {entry.file: entry.split for entry in read_manifest(run.manifest.uri)}
    assert all(
        splits[f"Normal/{index}.dcm"] == splits[f"Normal/{index + 1}.dcm"] for index in (0, 2, 4, 6)
    )
    written = caplog.text.encode() + b"".join(
        path.read_bytes() for path in (tmp_path / "run1").rglob("*") if path.is_file()
    )
    assert b"Maker" in written
    for secret in _SECRET:
        assert secret.encode() not in written


def test_a_table_wins_and_contradictions_are_listed(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    _study(tree)
    tree.metadata(
        [
            ("Normal/0.dcm", "M", "61.5", "AP Supine", "a"),
            ("Normal/1.dcm", "", "20", "", "b"),
            ("Normal/2.dcm", "F", "", "PA", "a"),
        ],
        header="file,sex,age,view,patient_id",
    )
    run = run_executor(tree.root)
    features = _features(run)
    said = {
        path: (
            features[path][contract.SEX].bytes_list.value[0].decode(),
            features[path][contract.AGE].float_list.value[0],
            features[path][contract.VIEW].bytes_list.value[0].decode(),
        )
        for path in (f"Normal/{index}.dcm" for index in range(4))
    }
    assert said == {
        "Normal/0.dcm": ("M", 61.5, "AP Supine"),
        "Normal/1.dcm": ("F", 20.0, "AP"),
        "Normal/2.dcm": ("F", 61.0, "PA"),
        "Normal/3.dcm": ("F", 61.0, "AP"),
    }
    listed = [item for item in read_left_out(run.manifest.uri) if item.kind is Kind.METADATA]
    assert [(item.path, item.reason.partition(";")[0]) for item in listed] == [
        ("Normal/0.dcm", "line 2 of the metadata says sex 'M', the DICOM header 'F'"),
        ("Normal/1.dcm", "line 3 of the metadata says age 20, the DICOM header 61"),
        (
            "Normal/1.dcm",
            "the metadata say several patients of this image and Normal/0.dcm, the DICOM headers "
            "one",
        ),
        ("Normal/2.dcm", "line 4 of the metadata says view 'PA', the DICOM header 'AP'"),
        (
            "Normal/2.dcm",
            "the metadata say one patient of this image and Normal/0.dcm, the DICOM headers "
            "several",
        ),
    ]
    remarks = [remark["sentence"] for remark in read_summary(run.manifest.uri)["remarks"]]
    assert any("contradict each other 5 times" in sentence for sentence in remarks)
    assert (
        "8 of 8 DICOM images have neither window nor VOI LUT: they are shown over the whole range "
        "of BitsStored"
    ) in remarks
    run = run_executor(tree.root, limits={"dicom_percentile": 1.5})
    remarks = [remark["sentence"] for remark in read_summary(run.manifest.uri)["remarks"]]
    assert any(
        "8 of 8" in said and "without the darkest and the brightest 1.5 %" in said
        for said in remarks
    )


def test_a_class_of_dicoms_alone_has_no_row_in_a_table(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    _study(tree)
    tree.metadata([("COVID-19/0.png", "COVID-19", "p")])
    remarks = read_summary(run_executor(tree.root).manifest.uri)["remarks"]
    assert "Normal: none of its 8 images has a row in a table" in [r["sentence"] for r in remarks]


def test_the_salt_is_made_once_and_is_the_users_alone(salt_file: Path) -> None:
    first, again = salts.salt_for(["a/x.dcm"]), salts.salt_for(["y.DICOM"])
    assert first == again
    assert stat.S_IMODE(salt_file.stat().st_mode) == 0o600
    assert [path.name for path in salt_file.parent.iterdir()] == ["patient-salt"]
    assert first.value not in (first.name.encode(), repr(first).encode())
    assert first.value.decode() not in repr(first)


def test_without_dicoms_there_is_no_file(salt_file: Path) -> None:
    assert salts.salt_for(["a/x.png"]) == salts.Salt(b"")
    assert not salt_file.exists()


def test_a_salt_that_is_named_is_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(salts.ENVIRONMENT, str(tmp_path / "named"))
    with pytest.raises(InputError, match=r"salt for patients' ids .* can't be read: No such file"):
        salts.salt_for(["x.dcm"])
    (tmp_path / "named").write_text("short", encoding="ascii")
    with pytest.raises(InputError, match="holds 5 bytes; 16 or more are needed"):
        salts.salt_for(["x.dcm"])
    (tmp_path / "named").write_bytes(_SALT)
    assert salts.salt_for(["x.dcm"]).value == _SALT
