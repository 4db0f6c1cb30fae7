"""`cxr deidentify`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.command_line import cxr
from tests.pipeline.deidentify.radiographs import another, radiograph, save


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "cxr-tfx" / "deidentification.salt"


def test_a_salt_is_made_once_and_never_shown(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(radiograph(BurnedInAnnotation="YES"), tmp_path / "in" / "a.dcm")
    assert cxr(monkeypatch, "deidentify", tmp_path / "in", tmp_path / "out") == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    first = capsys.readouterr()
    assert f"A new salt was made: {home}" in first.out
    assert "1 images of 1 patients" in first.out
    assert "Look at these 1 images" in first.out
    assert home.read_text().strip() not in first.out + first.err
    again = ("deidentify", tmp_path / "in", tmp_path / "2", "--salt-file", home)
    assert cxr(monkeypatch, *again) == 0
    assert "A new salt" not in capsys.readouterr().out
    names = [sorted(f.name for f in (tmp_path / to).rglob("*.dcm")) for to in ("out", "2")]
    assert names[0] == names[1]


def test_bad_files_are_listed_with_exit_2(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(another(1), tmp_path / "in" / "a.dcm")
    (tmp_path / "in" / "b.txt").write_text("hello")
    assert cxr(monkeypatch, "deidentify", tmp_path / "in", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert "1 of 2 files weren't de-identified" in said.err
    assert "b.txt: is no DICOM file" in said.err
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1


def test_no_salt_is_made_where_nothing_can_be_done(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(another(1), tmp_path / "in" / "a.dcm")
    assert cxr(monkeypatch, "deidentify", tmp_path / "in", tmp_path / "in" / "out") == 2
    assert not home.exists()


def test_a_failed_check_is_exit_1(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.deidentify import folder
    from pipeline.deidentify.verification import Finding

    save(another(1), tmp_path / "in" / "a.dcm")
    monkeypatch.setattr(folder, "verify", lambda file, _, __: [Finding(file, "a name")])
    assert cxr(monkeypatch, "deidentify", tmp_path / "in", tmp_path / "out") == 1
    assert f"{tmp_path / 'in' / 'a.dcm'}: a name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
