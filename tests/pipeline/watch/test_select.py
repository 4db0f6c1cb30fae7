"""`cxr watch select` and `cxr watch admit`: the design, the folder, and what is at fault."""

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
from hypothesis import given
from hypothesis import strategies as st

from components.radiograph_example_gen.listing import list_folder
from components.radiograph_example_gen.settings import (
    ClassFolders,
    Limits,
    Settings,
    SpanFolder,
)
from pipeline.watch.log_rows import Row
from pipeline.watch.reference import Reference
from pipeline.watch.selecting import DRIFTED, RANDOM, STRATA, UNSURE, select
from schema import contract
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
REFERENCE = Reference(CLASSES, {contract.MEAN: [80.0, 160.0]}, {}, None, frozenset())


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


def _row(index: int, *, sure: float = 0.9, abstained: bool = False, reason: str = "") -> Row:
    rest = (1 - sure) / 2
    return Row(
        hashlib.sha256(str(index).encode()).hexdigest(), "lungs", VERSION, 0,
        {contract.MEAN: 120.0}, {}, CLASSES, (sure, rest, rest), CLASSES[0], abstained, reason,
    )  # fmt: skip


def _rows(unsure: int, drifted: int, others: int) -> list[Row]:
    rows = [_row(n, sure=0.5, abstained=True) for n in range(unsure)]
    rows += [_row(1000 + n, reason=contract.DOMAIN_INVERTED) for n in range(drifted)]
    return rows + [_row(2000 + n) for n in range(others)]


@given(
    sizes=st.tuples(*[st.integers(0, 30)] * 3),
    wanted=st.tuples(*[st.integers(0, 12)] * 3),
    seed=st.integers(0, 5),
)
def test_the_weights_of_a_stratum_add_up_to_it(
    sizes: tuple[int, ...], wanted: tuple[int, ...], seed: int
) -> None:
    rows = _rows(*sizes)
    asked = dict(zip(STRATA, wanted, strict=True))
    found = select(rows, {("lungs", VERSION): REFERENCE}, asked, seed)
    assert sum(found.sizes.values()) == len(rows)
    assert len({one.row.digest for one in found.chosen}) == len(found.chosen)
    for stratum in STRATA:
        members = [one for one in found.chosen if one.stratum == stratum]
        assert len(members) == min(asked[stratum], found.sizes[stratum])
        if members:
            assert sum(one.weight for one in members) == pytest.approx(found.sizes[stratum])


def test_each_image_is_chosen_as_often_as_its_probability_says() -> None:
    """And so the weighted share of wrong answers is that of all: no bias towards the unsure."""
    rows = _rows(20, 10, 70)
    wanted = {DRIFTED: 3, UNSURE: 10, RANDOM: 7}
    times: Counter[str] = Counter()
    stratum_of = {row.digest: row.abstained for row in rows}
    estimates = []
    for seed in range(400):
        found = select(rows, {("lungs", VERSION): REFERENCE}, wanted, seed).chosen
        times.update(one.row.digest for one in found)
        unsure = sum(one.weight for one in found if stratum_of[one.row.digest])
        estimates.append(unsure / sum(one.weight for one in found))
    probability = {True: 0.5, False: 0.1}
    drifted = {row.digest for row in rows if row.domain_reason}
    for row in rows:
        expected = 0.3 if row.digest in drifted else probability[row.abstained]
        # Within five standard errors of a binomial distribution.
        assert (
            abs(times[row.digest] / 400 - expected) < 5 * (expected * (1 - expected) / 400) ** 0.5
        )
    assert estimates == pytest.approx([0.2] * 400)


def test_the_order_of_the_log_plays_no_part_and_the_seed_does() -> None:
    rows = _rows(0, 0, 50)
    wanted = {DRIFTED: 0, UNSURE: 0, RANDOM: 10}
    references = {("lungs", VERSION): REFERENCE}
    first = select(rows, references, wanted, 1).chosen
    assert select(rows[::-1], references, wanted, 1).chosen == first
    assert select(rows, references, wanted, 2).chosen != first


def test_unsure_are_those_abstained_on_and_the_least_sure_where_they_are_too_few() -> None:
    rows = [_row(0, sure=0.6, abstained=True), *(_row(n, sure=0.7 + n / 100) for n in range(1, 9))]
    wanted = {DRIFTED: 0, UNSURE: 3, RANDOM: 0}
    found = select(rows, {("lungs", VERSION): REFERENCE}, wanted, 0)
    assert {one.row.confidence for one in found.chosen} == {0.6, 0.71, 0.72}
    assert found.sizes == {DRIFTED: 0, UNSURE: 3, RANDOM: 6}


def test_drifted_says_why() -> None:
    dark = replace(_row(1), numbers={contract.MEAN: 79.0})
    inverted = _row(2, reason=contract.DOMAIN_INVERTED)
    well = _row(3, reason=contract.DOMAIN_OK)
    wanted = {DRIFTED: 9, UNSURE: 0, RANDOM: 9}
    chosen = select([dark, inverted, well], {("lungs", VERSION): REFERENCE}, wanted, 0).chosen
    why = {one.row.digest: (one.stratum, one.because) for one in chosen}
    assert why == {
        dark.digest: (DRIFTED, contract.MEAN),
        inverted.digest: (DRIFTED, "inverted"),
        well.digest: (RANDOM, ""),
    }


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
