"""`cxr watch select` and `cxr watch admit`: the folder, the labels, and what is at fault."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from components.radiograph_example_gen.listing import list_folder
from components.radiograph_example_gen.settings import (
    ClassFolders,
    Limits,
    Settings,
    SpanFolder,
)
from tests.pipeline.watch.kept import (
    CLASSES,
    VERSION,
    Image,
    Source,
    images,
    keep_version,
    write_log,
)

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`cxr watch …` -> exit status, and what it says."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        from pipeline import cli

        monkeypatch.setattr("sys.argv", ["cxr", "watch", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


@pytest.fixture
def served(tmp_path: Path) -> list[Image]:
    """60 images that were asked about, their files, and the record of the version."""
    keep_version(tmp_path / "pushed")
    (tmp_path / "serving" / "lungs" / str(VERSION)).mkdir(parents=True)
    asked = _with_files(images(Source(), 60, 2), tmp_path / "images" / "ward")
    write_log(tmp_path / "log", asked)
    return asked


def _with_files(asked: list[Image], folder: Path) -> list[Image]:
    folder.mkdir(parents=True)
    found = []
    for index, image in enumerate(asked):
        content = f"{folder} {index}".encode()
        (folder / f"Mrs Miller {index}.png").write_bytes(content)
        found.append(replace(image, digest=hashlib.sha256(content).hexdigest()))
    return found


def _select(tmp_path: Path, *further: str | Path) -> list[str | Path]:
    words: list[str | Path] = ["select", "--log", tmp_path / "log"]
    words += ["--images", tmp_path / "images", "--spans", tmp_path / "spans" / "span-{SPAN}"]
    return [*words, "--model-dir", tmp_path / "serving", *further]


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _label(folder: Path, asked: list[Image]) -> None:
    """Fill in the truth, as a person does with a spreadsheet."""
    truth = {image.digest: image.truth for image in asked}
    rows = _read(folder / "metadata.csv")
    for row in rows:
        row["label"] = truth[Path(row["file"]).stem]
    _write(folder / "metadata.csv", rows)


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_selection_that_is_labelled_is_the_next_span(
    tmp_path: Path, served: list[Image], cxr: Command
) -> None:
    (tmp_path / "spans" / "span-1").mkdir(parents=True)
    (tmp_path / "images" / "ward" / "Mrs Miller 7.png").unlink()
    status, said = cxr(*_select(tmp_path, "--unsure", "10", "--random", "20"))
    assert status == 0, said
    assert "1 images of the log are not in the folder" in said
    folder = tmp_path / "spans" / "span-2.unlabelled"
    facts = json.loads((folder / "selection.json").read_text())
    assert facts["files"]["missing"] == [served[7].digest]
    assert facts["classes"] == list(CLASSES)
    chosen = _read(folder / "selection.csv")
    assert Counter(row["stratum"] for row in chosen)["random"] == 20
    assert sum(float(row["weight"]) for row in chosen) == pytest.approx(59)
    # Who labels is not told what the model said, and no file is called after a patient.
    assert set(_read(folder / "metadata.csv")[0]) == {
        "file", "label", "patient_id", "sex", "age_group", "view", "source", "age",
    }  # fmt: skip
    assert not [path for path in folder.rglob("*") if "Miller" in path.name]
    for row in chosen:
        content = (folder / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["digest"]
    _label(folder, served)
    status, said = cxr("admit", folder)
    assert status == 0, said
    assert not folder.exists()
    labels = _read(tmp_path / "spans" / "span-2" / "labels.csv")
    assert {(row["digest"], row["label"]) for row in labels} <= {
        (image.digest, image.truth) for image in served
    }
    # ExampleGen takes each image, with the class that it was given.
    found = list_folder(_settings(tmp_path / "spans", 2)).found
    assert len(found.candidates) == len(labels) == len(chosen)
    assert {Path(each.path).stem: each.class_name for each in found.candidates} == {
        row["digest"]: row["label"] for row in labels
    }
    # What was chosen once isn't chosen again.
    status, said = cxr(*_select(tmp_path, "--unsure", "60"))
    assert f"{len(chosen)} in an earlier selection" in said
    again = _read(tmp_path / "spans" / "span-3.unlabelled" / "selection.csv")
    assert not {row["digest"] for row in again} & {row["digest"] for row in chosen}
    assert len(again) + len(chosen) == 59


def _settings(root: Path, number: int) -> Settings:
    return Settings(
        data_dir=str(root),
        metadata_csv=None,
        seed=0,
        test_fraction=Fraction(1, 5),
        eval_fraction=Fraction(3, 10),
        classes=tuple(ClassFolders(name, (name,), ()) for name in CLASSES),
        limits=Limits(),
        spans=(SpanFolder(number, f"span-{number}", None, True),),
    )


def test_labels_in_a_file_of_their_own_fill_in_the_table(
    tmp_path: Path, served: list[Image], cxr: Command
) -> None:
    assert cxr(*_select(tmp_path))[0] == 0
    folder = tmp_path / "spans" / "span-1.unlabelled"
    labels = tmp_path / "labels.csv"
    labels.write_text(f"digest,label\n{served[0].digest},Fracture")
    status, said = cxr("admit", folder, "--labels", labels)
    assert (status, "is no class" in said) == (2, True)
    lines = [f"{image.digest},{image.truth.lower()}" for image in served]
    labels.write_text("\n".join(["digest,label", *lines, f"{'0' * 64},NORMAL"]))
    status, said = cxr("admit", folder, "--labels", labels)
    assert status == 0, said
    assert f"1 labels are of images that are not in the selection: {'0' * 64}" in said
    assert all(row["label"] for row in _read(tmp_path / "spans" / "span-1" / "metadata.csv"))


def _spoil(rows: list[dict[str, str]], kind: str) -> list[dict[str, str]]:
    if kind == "contradiction":
        other = next(name for name in CLASSES if name != rows[3]["label"])
        return [*rows, {**rows[3], "label": other}]
    if kind == "unknown":
        return [*rows, {**rows[3], "file": "images/other.png"}]
    if kind == "gone":
        return rows[1:]
    if kind == "empty":
        rows[0]["label"] = ""
    elif kind == "class":
        rows[0]["label"] = "Fracture"
    elif kind == "one class":
        for row in rows:
            row["label"] = CLASSES[0]
    return rows


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("contradiction", "has another label than in row 5"),
        ("unknown", "'images/other.png' is no image of the selection"),
        ("gone", "its row is gone"),
        ("empty", "no label"),
        ("class", "'Fracture' is no class"),
        ("one class", "no image is labelled 'NORMAL', 'Viral Pneumonia'"),
    ],
)
def test_labels_at_fault_change_nothing(
    tmp_path: Path, served: list[Image], cxr: Command, kind: str, said: str
) -> None:
    cxr(*_select(tmp_path))
    folder = tmp_path / "spans" / "span-1.unlabelled"
    _label(folder, served)
    _write(folder / "metadata.csv", _spoil(_read(folder / "metadata.csv"), kind))
    before = (folder / "metadata.csv").read_bytes()
    status, told = cxr("admit", folder)
    assert (status, said in told) == (2, True), told
    assert (folder / "metadata.csv").read_bytes() == before
    assert not (tmp_path / "spans" / "span-1").exists()
    # Images without a label can be left out, if that is said; nothing else is passed over.
    may = kind in ("gone", "empty", "class")
    status, told = cxr("admit", folder, "--leave-out")
    assert (status, "left out: images/" in told) == ((0, True) if may else (2, False)), told


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{0},NORMAL", "{0},COVID-19"], "another label than line 2, so neither is used"),
        (["4711,NORMAL"], "is no SHA-256"),
    ],
)
def test_a_file_of_labels_at_fault_changes_nothing(
    tmp_path: Path, served: list[Image], cxr: Command, lines: list[str], said: str
) -> None:
    cxr(*_select(tmp_path))
    folder = tmp_path / "spans" / "span-1.unlabelled"
    digest = _read(folder / "selection.csv")[0]["digest"]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["digest,label", *(line.format(digest) for line in lines)]))
    status, told = cxr("admit", folder, "--labels", labels, "--leave-out")
    assert (status, said in told) == (2, True), told
    assert folder.is_dir()


def test_a_span_that_is_there_is_left_alone(
    tmp_path: Path, served: list[Image], cxr: Command
) -> None:
    (tmp_path / "spans" / "span-4").mkdir(parents=True)
    status, said = cxr(*_select(tmp_path, "--span", "4"))
    assert (status, "span 4 is there" in said) == (2, True)
    assert cxr(*_select(tmp_path))[0] == 0
    folder = tmp_path / "spans" / "span-5.unlabelled"
    _label(folder, served)
    (tmp_path / "spans" / "span-5").mkdir()
    status, said = cxr("admit", folder)
    assert (status, "span-5 is there" in said) == (2, True)


def test_a_log_of_another_model_is_passed_over_and_named(
    tmp_path: Path, served: list[Image], cxr: Command
) -> None:
    write_log(tmp_path / "log", images(Source(), 12, 9), name="knees")
    status, said = cxr(*_select(tmp_path))
    assert (status, "12 images of knees" in said) == (0, True), said
    status, said = cxr(*_select(tmp_path, "--model", "knees"))
    assert (status, "the log has lungs, and no 'knees'" in said) == (2, True)
    # Nothing else is in this one.
    write_log(tmp_path / "only", images(Source(), 12, 9), name="knees")
    status, said = cxr(*_select(tmp_path, "--log", tmp_path / "only"))
    assert (status, "nothing was kept of such a version" in said) == (2, True)


def test_images_of_the_training_and_of_no_folder_are_not_chosen(
    tmp_path: Path, cxr: Command
) -> None:
    trained = keep_version(tmp_path / "pushed")
    (tmp_path / "serving" / "lungs" / str(VERSION)).mkdir(parents=True)
    (tmp_path / "images").mkdir()
    write_log(tmp_path / "log", [*trained[:5], *images(Source(), 4, 2)])
    status, said = cxr(*_select(tmp_path))
    assert status == 2
    assert "5 were in the training's own data" in said
    assert "none of the 4 images that could be chosen is in" in said
    assert not (tmp_path / "spans").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--spans", "span"], "needs {SPAN} in it once"),
        (["--images", "nowhere"], "is no folder"),
        (["--unsure", "0", "--drifted", "0", "--random", "0"], "all are 0"),
    ],
)
def test_wrong_words_are_one_sentence(
    tmp_path: Path, served: list[Image], cxr: Command, words: list[str], said: str
) -> None:
    status, told = cxr(*_select(tmp_path, *words))
    assert (status, said in told) == (2, True), told


def test_a_client_that_sent_the_png_of_a_jpeg_has_its_file_found(tmp_path: Path) -> None:
    import io

    import numpy as np
    from PIL import Image as Pillow

    from models.conversion import converted
    from pipeline.watch.served_images import digest_of, find_files

    buffer = io.BytesIO()
    Pillow.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    sent = digest_of(converted(buffer.getvalue()))
    assert find_files(tmp_path, {sent}).of_digest == {sent: tmp_path / "a.jpg"}
    itself = digest_of(buffer.getvalue())
    assert find_files(tmp_path, {itself}).of_digest == {itself: tmp_path / "a.jpg"}
