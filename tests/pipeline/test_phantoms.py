"""The phantoms: same bytes every time, honest labels, a folder that is whole or refused."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from pipeline.phantoms import CLASSES, COMMENT, canvas, dataset, phantom, render, write_phantoms
from pipeline.phantoms.anatomy import Anatomy, Chest, draw_chest

COVID, NORMAL, VIRAL = CLASSES
_DRAW = "from pipeline.phantoms import write_phantoms; write_phantoms"


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "set", (4, 2, 3), size=64, seed=7)


def test_layout_is_the_papers_folders_and_one_based_names(small: Path) -> None:
    files = set(digests(small))
    images = {
        f"{name}/{name} ({number}).png"
        for name, count in zip(CLASSES, (4, 2, 3), strict=True)
        for number in range(1, count + 1)
    }
    assert files == images | {"metadata.csv", "README.txt", "phantoms.json"}
    assert CLASSES == ("COVID-19", "NORMAL", "Viral Pneumonia")
    assert not list(small.parent.glob(".phantoms-*")), "the scratch folder is gone"


def test_every_file_says_that_it_is_not_medical_data(small: Path) -> None:
    for path in small.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (64, 64))
            assert image.info["Comment"] == COMMENT
    assert "not medical data" in COMMENT
    assert "not medical data" in (small / "README.txt").read_text(encoding="utf-8")


def test_the_mark_is_the_same_pixels_in_every_class() -> None:
    marks = [phantom(name, size=256, seed=1, index=i)[-9:, :31] for name in CLASSES for i in (0, 5)]
    assert all(np.array_equal(marks[0], mark) for mark in marks[1:])
    assert set(np.unique(marks[0])) == {30, 190}


def test_the_mark_spells_phantom() -> None:
    mark = phantom(NORMAL, size=64, seed=0, index=0)[-7:-2, 2:30] == 190
    drawn = ["".join(" #"[int(bit)] for bit in row) for row in mark]
    assert drawn == [
        "### # # ### ##  ### ### # # ",
        "# # # # # # # #  #  # # ### ",
        "### ### ### # #  #  # # ### ",
        "#   # # # # # #  #  # # # # ",
        "#   # # # # # #  #  ### # # ",
    ]


def test_an_image_does_not_depend_on_the_counts(small: Path, tmp_path: Path) -> None:
    more = write_phantoms(tmp_path / "more", (5, 1, 2), size=64, seed=7)
    ours, theirs = digests(small), digests(more)
    shared = [name for name in ours if name in theirs and name.endswith(".png")]
    assert len(shared) == 4 + 1 + 2
    assert all(ours[name] == theirs[name] for name in shared)
    records = {row["file"]: row for row in rows(more)}
    assert all(records[row["file"]] == row for row in rows(small) if row["file"] in records)


def test_another_seed_gives_other_images(small: Path, tmp_path: Path) -> None:
    other = digests(write_phantoms(tmp_path / "other", (1, 1, 1), size=64, seed=8))
    ours, images = digests(small), [name for name in other if name.endswith(".png")]
    assert len(images) == 3
    assert all(ours[name] != other[name] for name in images)


def test_same_arguments_same_bytes_also_from_processes(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_PARALLEL_FROM", 0)
    shared = write_phantoms(tmp_path / "shared", [4, 2, 3], size=64, seed=7, workers=2)
    assert digests(shared) == digests(small)


@pytest.mark.long
def test_every_cpu_draws_the_same(tmp_path: Path) -> None:
    # NumPy's float32 exp, sin and power differ with what a CPU offers. Of 27 images some showed it.
    # NumPy's stubs know no `mode`.
    show: Any = np.show_config
    beyond = show(mode="dicts")["SIMD Extensions"]["found"]
    drawn = []
    for name, switched_off in (("all", ""), ("least", " ".join(beyond))):
        code = f"{_DRAW}({str(tmp_path / name)!r}, (9, 10, 8), size=128, seed=2)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": switched_off},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        drawn.append(digests(tmp_path / name))
    assert drawn[0] == drawn[1]


def test_metadata_names_every_image_once_with_its_class(small: Path) -> None:
    table = rows(small)
    assert tuple(table[0]) == dataset.COLUMNS
    assert [row["file"] for row in table] == [
        f"{name}/{name} ({number}).png"
        for name, count in zip(CLASSES, (4, 2, 3), strict=True)
        for number in range(1, count + 1)
    ]
    assert all(row["file"].startswith(row["label"] + "/") for row in table)
    assert {row["source"] for row in table} == {"phantom"}


def records(count: int, seed: int = 0) -> list[dict[str, str]]:
    """The metadata of a large set, without its images."""
    jobs = [
        dataset._Job(Path("x.png"), name, 64, seed, index)
        for name in CLASSES
        for index in range(count)
    ]
    return [dataset._record(job, f"{job.class_name} {job.index}") for job in jobs]


def test_metadata_values_are_possible_and_consistent() -> None:
    table = records(150)
    for row in table:
        assert row["sex"] in {"F", "M", ""}
        assert row["view"] in {"PA", "AP", "AP Supine", ""}
        assert row["age_group"] in {"child", "adult", ""}
        assert row["patient_id"]
        if row["age"] and row["age_group"]:
            assert (row["age_group"] == "child") == (int(row["age"]) < 18)
        assert not row["age"] or 1 <= int(row["age"]) <= 90
    for column in ("sex", "age", "age_group", "view"):
        unknown = sum(not row[column] for row in table) / len(table)
        assert 0.02 < unknown < 0.25, column


@pytest.mark.parametrize("column", ["sex", "age_group", "view"])
def test_metadata_does_not_tell_the_class(column: str) -> None:
    by_class = {name: Counter[str]() for name in CLASSES}
    for row in records(400):
        by_class[row["label"]][row[column]] += 1
    for value in by_class[NORMAL]:
        shares = [counter[value] / counter.total() for counter in by_class.values()]
        assert max(shares) - min(shares) < 0.12, value


def test_a_quarter_of_covid_patients_come_back_and_nobody_else_does() -> None:
    images = Counter(row["patient_id"] for row in records(400))
    labels = {row["patient_id"]: row["label"] for row in records(400)}
    covid = [count for patient, count in images.items() if labels[patient] == COVID]
    assert {count for patient, count in images.items() if labels[patient] != COVID} == {1}
    assert set(covid) == {1, 2, 3}
    assert 0.15 < sum(count > 1 for count in covid) / len(covid) < 0.35


def test_a_patients_record_stays_the_same_between_visits() -> None:
    known: dict[str, tuple[str, ...]] = {}
    for row in records(100):
        person = (row["sex"], row["age"], row["age_group"])
        assert known.setdefault(row["patient_id"], person) == person


def test_a_patients_images_show_one_anatomy_in_two_exposures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patients = [render.patient_of(COVID, index, seed=0) for index in range(40)]
    first = next(i for i in range(39) if patients[i] == patients[i + 1])
    seen: list[Anatomy] = []

    def spy(anatomy: Anatomy, pose: canvas.Pose) -> Chest:
        seen.append(anatomy)
        return draw_chest(anatomy, pose)

    monkeypatch.setattr(render, "draw_chest", spy)
    one, two = (phantom(COVID, size=64, seed=0, index=first + visit) for visit in (0, 1))
    assert seen[0] == seen[1]
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("size", [64, 100, 256, 513])
def test_phantom_is_grey_and_of_the_size_asked_for(size: int) -> None:
    image = phantom(VIRAL, size=size, seed=3, index=0)
    assert image.dtype == np.uint8
    assert image.shape == (size, size)
    assert image.std() > 30, "there is something to see"


def test_the_same_chest_is_shown_at_every_size() -> None:
    small, large = (
        np.asarray(
            Image.fromarray(phantom(COVID, size=size, seed=0, index=2)).resize(
                (32, 32), Image.Resampling.BOX
            ),
            dtype=float,
        )
        for size in (128, 1024)
    )
    corner = np.s_[:24]  # the mark is not scaled with the image
    assert np.abs(small - large)[corner].mean() < 2.0


def test_no_two_images_are_identical_and_mean_brightness_does_not_tell_the_classes(
    phantom_folder: Path,
) -> None:
    images = [
        [np.asarray(Image.open(file)) for file in (phantom_folder / name).glob("*.png")]
        for name in CLASSES
    ]
    assert [len(members) for members in images] == [30, 36, 33]
    assert len({image.tobytes() for members in images for image in members}) == 99
    means = [np.array([image.mean() for image in members]) for members in images]
    # The spread within a class is far larger than any difference between classes.
    assert np.ptp([each.mean() for each in means]) < 0.75 * min(each.std() for each in means)


def test_disease_shows_where_it_should() -> None:
    """Against the clear lung, haze lies low and outside, streaks lie in the middle."""
    anatomy = Anatomy.draw(np.random.default_rng(0))
    pose = canvas.Pose(angle=0.0, shift=(0.0, 0.0), zoom=1.0)
    chest = draw_chest(anatomy, pose)
    outer = chest.lungs * (np.abs(chest.x) > anatomy.lung_centre)
    inner = chest.lungs * (np.abs(chest.x) <= anatomy.lung_centre)
    low = chest.lungs * (chest.y > 0.0)
    high = chest.lungs * (chest.y <= 0.0)

    def share(name: str, where: canvas.Field) -> float:
        draw = render._OPACITIES[name]
        opacity = draw(np.random.default_rng(1), anatomy, pose, chest.x, chest.y)
        assert opacity.min() >= 0.0
        assert opacity.max() <= 1.0
        return float((opacity * where).sum() / where.sum())

    assert share(NORMAL, chest.lungs) == 0.0
    assert share(COVID, outer) > 1.3 * share(COVID, inner)
    assert share(COVID, low) > 2.0 * share(COVID, high)
    assert share(VIRAL, inner) > 1.3 * share(VIRAL, outer)
    for side in (-1, 1):  # both lungs are ill
        half = chest.lungs * (side * chest.x > 0)
        assert share(COVID, half) > 0.1
        assert share(VIRAL, half) > 0.1


def test_grid_and_pixel_are_inverse() -> None:
    pose = canvas.Pose.draw(np.random.default_rng(5))
    x, y = pose.grid()
    column, row = pose.pixel((float(x[100, 300]), float(y[100, 300])))
    assert (column, row) == pytest.approx((300, 100), abs=1e-3)


@pytest.mark.parametrize(
    ("counts", "options", "named"),
    [
        ((1, 0, 1), {}, "NORMAL"),
        ((1, 1, -2), {}, "Viral Pneumonia"),
        ((True, 1, 1), {}, "COVID-19"),
        ((1.5, 1, 1), {}, "COVID-19"),
        ((1, 1), {}, "counts"),
        ((1, 1, 1), {"size": 63}, "size"),
        ((1, 1, 1), {"size": 8193}, "size"),
        ((1, 1, 1), {"seed": -1}, "seed"),
        ((1, 1, 1), {"workers": 0}, "workers"),
    ],
)
def test_impossible_arguments_are_refused(
    tmp_path: Path, counts: tuple[int, ...], options: dict[str, int], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        write_phantoms(tmp_path / "set", counts, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "size", "seed", "index"),
    [("covid", 64, 0, 0), (NORMAL, 32, 0, 0), (NORMAL, 64, -1, 0), (NORMAL, 64, 0, -1)],
)
def test_impossible_phantoms_are_refused(name: str, size: int, seed: int, index: int) -> None:
    with pytest.raises(InputError):
        phantom(name, size=size, seed=seed, index=index)


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert write_phantoms(tmp_path / "link", (1, 1, 1), size=64) == tmp_path / "link"
    assert (tmp_path / "real" / "metadata.csv").is_file()
    assert (tmp_path / "link").is_symlink()


def test_the_set_is_readable_by_whom_the_umask_lets(small: Path) -> None:
    sibling = small.parent / "sibling"
    sibling.mkdir()
    assert small.stat().st_mode == sibling.stat().st_mode


def test_a_second_call_draws_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    monkeypatch.setattr(dataset, "_fill", lambda *_: pytest.fail("drew the set again"))
    assert write_phantoms(small, (4, 2, 3), size=64, seed=7) == small
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


@pytest.mark.parametrize("options", [{"seed": 8}, {"size": 65}])
def test_a_set_of_other_arguments_is_refused(small: Path, options: dict[str, int]) -> None:
    before = digests(small)
    with pytest.raises(InputError, match="other arguments"):
        write_phantoms(small, (4, 2, 3), **{"size": 64, "seed": 7, **options})
    with pytest.raises(InputError, match="other arguments"):
        write_phantoms(small, (4, 2, 4), size=64, seed=7)
    assert digests(small) == before


@pytest.mark.parametrize("change", ["remove", "add", "cut"])
def test_a_set_that_was_changed_is_refused(small: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "set"
    shutil.copytree(small, out)
    assert write_phantoms(out, (4, 2, 3), size=64, seed=7) == out
    image = out / NORMAL / f"{NORMAL} (1).png"
    if change == "remove":
        image.unlink()
    elif change == "add":
        (out / NORMAL / "mine.png").write_bytes(b"")
    else:
        image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(InputError, match="changed"):
        write_phantoms(out, (4, 2, 3), size=64, seed=7)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b"\xff"])
def test_somebody_elses_folder_is_refused(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    if content is not None:
        (tmp_path / "phantoms.json").write_bytes(content)
    with pytest.raises(InputError, match="holds"):
        write_phantoms(tmp_path, (1, 1, 1), size=64)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("keep me")
    with pytest.raises(InputError, match="not a folder"):
        write_phantoms(path, (1, 1, 1), size=64)
    with pytest.raises(InputError, match="cannot be put"):
        write_phantoms(path / "below", (1, 1, 1), size=64)
    assert path.read_text() == "keep me"


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = dataset._write
    written: list[Path] = []

    def interrupted(job: dataset._Job) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        write(job)
        written.append(job.path)

    monkeypatch.setattr(dataset, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", (2, 2, 2), size=64)
    assert not list(tmp_path.iterdir())


def test_of_two_runs_at_once_the_later_takes_the_firsts_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fill = tmp_path / "set", dataset._fill

    def slow(folder: Path, *arguments: object) -> None:
        monkeypatch.setattr(dataset, "_fill", fill)
        write_phantoms(out, (1, 1, 1), size=64)  # the other run is first
        fill(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "_fill", slow)
    assert write_phantoms(out, (1, 1, 1), size=64) == out
    assert len(digests(out)) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
