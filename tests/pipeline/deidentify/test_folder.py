"""A folder is de-identified as a whole or not at all, and no file is lost sight of."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from common.errors import InputError
from pipeline.deidentify import folder
from pipeline.deidentify.folder import REPORT, NotCleanError, Outcome, deidentify
from pipeline.deidentify.verification import Finding
from tests.pipeline.deidentify.radiographs import (
    SECRETS,
    another,
    compressed,
    pixels,
    radiograph,
    save,
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two images of a patient, one of another, in folders with a name."""
    source = tmp_path / "in"
    save(radiograph(), source / "Mueller_Hannelore" / "IM1.dcm")
    later = another(1, StudyDate="20240310", StudyInstanceUID="1.2.3.4.5.6.8")
    save(later, source / "Mueller_Hannelore" / "IM2")
    save(compressed(SOPInstanceUID="1.2.3.4.8", PatientID="PAT-2"), source / "Geheim" / "IM1.dcm")
    return source


def files_of(target: Path) -> dict[str, bytes]:
    found = (file for file in target.rglob("*") if file.is_file())
    return {str(file.relative_to(target)): file.read_bytes() for file in found}


def whys(outcome: Outcome) -> dict[str, str]:
    return {refused.file.name: refused.why for refused in outcome.refused}


def test_nothing_of_the_patient_stands_in_names_or_bytes(
    study: Path, tmp_path: Path, salt: bytes
) -> None:
    outcome = deidentify(study, tmp_path / "out", salt)
    assert (len(outcome.written), len(outcome.patients), outcome.refused) == (3, 2, [])
    found = files_of(tmp_path / "out")
    assert len(found) == 4
    for name, content in found.items():
        for secret in (*SECRETS, "IM1", "1.2.3.4.5.6"):
            assert secret.lower() not in name.lower()
            assert secret.lower().encode() not in content.lower(), (name, secret)


def test_the_pixels_stay(study: Path, tmp_path: Path, salt: bytes) -> None:
    outcome = deidentify(study, tmp_path / "out", salt)
    made = pydicom.dcmread(tmp_path / "out" / outcome.written[study / "Mueller_Hannelore/IM1.dcm"])
    assert np.array_equal(made.pixel_array, pixels())


def test_patients_and_intervals_stay_together(study: Path, tmp_path: Path, salt: bytes) -> None:
    outcome = deidentify(study, tmp_path / "out", salt)
    first, second = (
        pydicom.dcmread(tmp_path / "out" / outcome.written[study / "Mueller_Hannelore" / name])
        for name in ("IM1.dcm", "IM2")
    )
    days = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (first.StudyDate, second.StudyDate)]
    assert days[1] - days[0] == 10
    assert first.PatientID == second.PatientID
    assert first.StudyInstanceUID != second.StudyInstanceUID


def test_the_same_salt_gives_the_same_bytes_and_another_other_names(
    study: Path, tmp_path: Path, salt: bytes
) -> None:
    for name in ("out", "again"):
        deidentify(study, tmp_path / name, salt)
    deidentify(study, tmp_path / "other", b"another salt of 16 bytes")
    # One file alone, too.
    deidentify(study / "Mueller_Hannelore" / "IM2", tmp_path / "one", salt)
    found = files_of(tmp_path / "out")
    assert files_of(tmp_path / "again") == found
    assert set(files_of(tmp_path / "other")) & set(found) == {REPORT}
    alone = files_of(tmp_path / "one")
    assert all(found[name] == content for name, content in alone.items() if name != REPORT)
    assert len(alone) == 2


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_other_syntaxes(tmp_path: Path, salt: bytes, syntax: UID) -> None:
    source = radiograph()
    source.file_meta.TransferSyntaxUID = syntax
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    source.PixelData = pixels().astype(order).tobytes()
    save(source, tmp_path / "in" / "a.dcm")
    outcome = deidentify(tmp_path / "in", tmp_path / "out", salt)
    made = pydicom.dcmread(tmp_path / "out" / next(iter(outcome.written.values())))
    assert made.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(made.pixel_array, pixels())


def test_bad_files_are_listed_and_the_others_written(
    study: Path, tmp_path: Path, salt: bytes
) -> None:
    (study / "notes.txt").write_text("Mueller")
    (study / "empty.dcm").touch()
    good = save(radiograph(), tmp_path / "good.dcm").read_bytes()
    (study / "cut.dcm").write_bytes(good[:-100])
    (study / "header.dcm").write_bytes(good[:300])
    (study / "link").symlink_to(tmp_path)
    save(another(2, Rows=65535, Columns=65535), study / "huge.dcm")
    save(another(3, SOPClassUID=EncapsulatedPDFStorage), study / "pdf.dcm")
    save(another(4, SOPClassUID=BasicTextSRStorage, PixelData=None), study / "report.dcm")
    save(another(5, PixelData=None), study / "without.dcm")
    save(radiograph(PatientSex="M"), study / "Zwilling" / "twin.dcm")
    save(radiograph(), study / "Mueller_Hannelore" / "copy.dcm")
    broken = compressed(SOPInstanceUID="1.2.3.4.77")
    broken.PixelData = broken.PixelData[:600]
    save(broken, study / "stream.dcm")
    outcome = deidentify(study, tmp_path / "out", salt)
    found = whys(outcome)
    expected = {
        "notes.txt": "is no DICOM file",
        "empty.dcm": "is no DICOM file",
        "cut.dcm": "is damaged: ",
        "header.dcm": "has no ",
        "link": "is a link to a folder",
        "huge.dcm": "claims 4294836225 pixels",
        "pdf.dcm": "is no image (Encapsulated PDF Storage)",
        "report.dcm": "is no image (Basic Text SR Storage)",
        "without.dcm": "holds no pixel data",
        "twin.dcm": "has the SOP Instance UID of",
        "stream.dcm": "is damaged: ValueError: is cut off",
    }
    assert set(found) == set(expected)
    assert all(found[name].startswith(why) for name, why in expected.items()), found
    assert len(outcome.written) == 3
    assert list(outcome.repeated) == [study / "Mueller_Hannelore" / "copy.dcm"]
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert (report["images"], report["refused_files"], report["repeated_files"]) == (3, 11, 1)
    assert "Mueller" not in json.dumps(report)


def test_a_dicomdir_is_refused(study: Path, tmp_path: Path, salt: bytes) -> None:
    index = FileSet()
    index.add(study / "Mueller_Hannelore" / "IM2")
    index.write(tmp_path / "disc")
    outcome = deidentify(tmp_path / "disc", tmp_path / "out", salt)
    assert whys(outcome)["DICOMDIR"].startswith("is a DICOMDIR")
    assert len(outcome.written) == 1


def test_a_deflated_file_that_grows_beyond_all_bounds_is_refused(
    tmp_path: Path, salt: bytes
) -> None:
    source = radiograph()
    source.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    # 300 MiB of one private element; 300 KB on the disk.
    source.private_block(0x0011, "KLINIKUM").add_new(0x02, "OB", bytes(300 << 20))
    save(source, tmp_path / "in" / "bomb.dcm")
    assert (tmp_path / "in" / "bomb.dcm").stat().st_size < 1 << 20
    outcome = deidentify(tmp_path / "in", tmp_path / "out", salt)
    assert whys(outcome) == {"bomb.dcm": "is a deflated DICOM of more than 256 MiB"}


def test_a_file_without_a_syntax_is_refused(tmp_path: Path, salt: bytes) -> None:
    content = BytesIO()
    bare = Dataset()
    bare.PatientName = "Mueller"
    pydicom.dcmwrite(content, bare, implicit_vr=False, little_endian=True)
    meta = FileMetaDataset()
    meta.ImplementationVersionName = "X"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(bytes(128) + b"DICM" + content.getvalue())
    outcome = deidentify(tmp_path / "in", tmp_path / "out", salt)
    assert whys(outcome) == {"a.dcm": "names no transfer syntax"}
    assert not (tmp_path / "out").exists()


def test_pixels_that_nobody_can_decode_are_refused(
    study: Path, tmp_path: Path, salt: bytes
) -> None:
    def fail(dataset: Dataset) -> np.ndarray:
        raise RuntimeError("no plugin")

    outcome = deidentify(study, tmp_path / "out", salt, pixels_of=fail)
    assert set(whys(outcome).values()) == {
        "its pixels can't be decoded, so nobody can look for text in them: no plugin"
    }


def test_burned_in_text_is_for_a_person_to_look_at(tmp_path: Path, salt: bytes) -> None:
    save(radiograph(BurnedInAnnotation="YES"), tmp_path / "in" / "a.dcm")
    save(another(1), tmp_path / "in" / "b.dcm")
    outcome = deidentify(tmp_path / "in", tmp_path / "out", salt)
    place = outcome.written[tmp_path / "in" / "a.dcm"]
    assert outcome.to_look_at == {place: "its header says that text is burned in"}
    text = np.zeros((400, 400), np.uint16)
    for column in range(4, 60, 8):
        text[4:14, column : column + 2] = 4000
    outcome = deidentify(tmp_path / "in", tmp_path / "2", salt, pixels_of=lambda _: text)
    assert len(outcome.to_look_at) == 2
    assert "look like text" in outcome.to_look_at[place]


def test_one_folder_in_the_other_is_refused(study: Path, tmp_path: Path, salt: bytes) -> None:
    (tmp_path / "way").symlink_to(study)
    empty = tmp_path / "empty"
    (empty / "in").mkdir(parents=True)
    for source, target in [
        (study, study / "out"),
        (study, study / "Geheim" / "deep" / "out"),
        (study, tmp_path / "way" / "out"),
        (tmp_path / "way", study / "out"),
    ]:
        with pytest.raises(InputError, match="one lies in the other"):
            deidentify(source, target, salt)
    for target in (study, tmp_path):
        with pytest.raises(InputError, match="isn't empty"):
            deidentify(study, target, salt)
    assert not (study / "out").exists()


def test_nothing_is_written_over(study: Path, tmp_path: Path, salt: bytes) -> None:
    target = tmp_path / "out"
    target.mkdir()
    deidentify(study, target, salt)
    before = files_of(target)
    with pytest.raises(InputError, match="nothing is written over"):
        deidentify(study, target, salt)
    assert files_of(target) == before


def test_an_interruption_leaves_nothing(
    study: Path, tmp_path: Path, salt: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> list[Finding]:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "verify", stop)
    with pytest.raises(KeyboardInterrupt):
        deidentify(study, tmp_path / "out", salt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_full_disk_is_an_error_and_leaves_nothing(
    study: Path, tmp_path: Path, salt: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.pydicom, "dcmwrite", full)
    with pytest.raises(InputError, match="No space left on device"):
        deidentify(study, tmp_path / "out", salt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_the_check_finds_stops_all(
    study: Path, tmp_path: Path, salt: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cleaning forgets a name: the check, which knows nothing of it, sees that."""
    from pipeline.deidentify import dataset

    monkeypatch.setattr(dataset, "_TEXTS", dataset._TEXTS | {"ContentLabel", "ImageLaterality"})
    source = radiograph()
    source.ContentLabel = "MUELLER"
    made = study / "Mueller_Hannelore" / "IM3"
    source.add_new("DetectorDescription", "LT", "x")
    save(source, made)
    monkeypatch.setattr(dataset, "action_of", lambda tag: None)
    with pytest.raises(NotCleanError, match="things that must not be there"):
        deidentify(study, tmp_path / "out", salt)
    assert not (tmp_path / "out").exists()


def test_no_file_is_no_folder(tmp_path: Path, salt: bytes) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        deidentify(tmp_path / "in", tmp_path / "out", salt)
    with pytest.raises(InputError, match="doesn't exist"):
        deidentify(tmp_path / "nowhere", tmp_path / "out", salt)
