"""The node on folders of phantoms, from RadiographExampleGen's output to audit.json."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageEnhance

from common.runtime import prepare_environment

prepare_environment()

from components.radiograph_example_gen.manifest import read_manifest  # noqa: E402
from components.shortcut_audit.report import AUDIT_FILE  # noqa: E402

if TYPE_CHECKING:
    from tests.golden_run import GoldenRun

Audited = Callable[..., tuple[Any, dict[str, Any]]]
Generated = Callable[..., dict[str, list[Any]]]
pytestmark = pytest.mark.slow

COUNTS = {"COVID-19": 13, "NORMAL": 18, "Viral Pneumonia": 18}
LIMITS = {"max_duplicates_across_splits": 0, "max_shortcut_accuracy": 0.9}
PLANTED = 6
PAIRS = [
    (f"COVID-19/COVID-19 ({number + 1}).png", f"COVID-19/copy {number}.png")
    for number in range(PLANTED)
]


@pytest.fixture(scope="module")
def images(golden: GoldenRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms: the first of each class, as many as the audit needs."""
    folder = tmp_path_factory.mktemp("some") / "images"
    with (golden.data / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = []
    for name, count in COUNTS.items():
        of_class = [row for row in rows if row["file"].startswith(f"{name}/")]
        chosen += of_class[:count]
        (folder / name).mkdir(parents=True)
    for row in chosen:
        shutil.copy(golden.data / row["file"], folder / row["file"])
    _write_rows(folder, chosen)
    return folder


def _write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def clean(
    generated: Generated, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    return generated(images, tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def planted(
    generated: Generated, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """Near-duplicates under patient ids of their own, a mark in the corner, and a source."""
    folder = tmp_path_factory.mktemp("planted") / "images"
    shutil.copytree(images, folder)
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_file = {row["file"]: row for row in rows}
    for number, (original, copy) in enumerate(PAIRS):
        image = Image.open(folder / original).convert("L")
        ImageEnhance.Brightness(image).enhance(1.1).resize((150, 150)).save(folder / copy)
        rows.append(by_file[original] | {"file": copy, "patient_id": f"other-{number}"})
    corners = {"COVID-19": (0, 0), "NORMAL": (112, 0), "Viral Pneumonia": (0, 112)}
    for row in rows:
        name = row["file"].split("/")[0]
        row["source"] = f"hospital of {name}"
        image = Image.open(folder / row["file"]).convert("L")
        left, top = corners[name]
        image.paste(255, (left, top, left + 16, top + 16))
        image.save(folder / row["file"])
    _write_rows(folder, rows)
    return generated(folder, tmp_path_factory.mktemp("planted examples"))


@pytest.fixture(scope="module")
def audit_of_planted(
    planted: dict[str, list[Any]], audited: Audited, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, Any]]:
    return audited(planted, tmp_path_factory.mktemp("audit") / "first", **LIMITS)


def _accuracy(content: dict[str, Any], seen: str) -> float:
    (found,) = (s for s in content["shortcuts"] if s["seen"] == seen and not s["against_rest"])
    return float(found["accuracy"])


def test_a_folder_without_faults_passes(
    clean: dict[str, list[Any]], audited: Audited, tmp_path: Path
) -> None:
    audit, content = audited(clean, tmp_path / "audit", max_duplicates_across_splits=0)
    assert set(content) == {
        *("passed", "failures", "findings", "weighed", "limits", "duplicates", "patients"),
        "shortcuts",
    }
    assert [one["sentence"] for one in content["weighed"]] == content["findings"]
    assert {one["about"] for one in content["weighed"]} == {"leaks", "shortcuts"}
    assert content["passed"] is True
    assert content["failures"] == []
    assert audit.get_int_custom_property("passed") == 1
    assert content["duplicates"]["across_splits"] == 0
    assert content["duplicates"]["within_a_split"] == 0
    assert content["patients"]["across_splits"] == 0
    # What the report of a run reads of them.
    names = [shortcut["name"] for shortcut in content["shortcuts"]]
    assert len(set(names)) == len(names) > 0
    for shortcut in content["shortcuts"]:
        low, high = shortcut["wilson95"]
        assert 0 <= low <= shortcut["accuracy"] <= high <= 1
        assert shortcut["accuracy"] == shortcut["correct"] / shortcut["total"]
    assert content["limits"] == {
        "max_duplicates_across_splits": 0,
        "max_patients_across_splits": None,
        "max_shortcut_accuracy": None,
        "max_table_auc": None,
    }


def test_what_was_planted_is_found_and_fails_the_limits(
    planted: dict[str, list[Any]], audit_of_planted: tuple[Any, dict[str, Any]]
) -> None:
    audit, content = audit_of_planted
    duplicates = content["duplicates"]
    pairs = duplicates["pairs_across_splits"] + duplicates["pairs_within_a_split"]
    found = {tuple(sorted(image["path"] for image in pair["images"])) for pair in pairs}
    # With the planted ones this class has one image too many: a pair can miss one of its two.
    chosen = {entry.file for entry in read_manifest(planted["manifest"][0].uri)}
    assert found == {pair for pair in PAIRS if chosen.issuperset(pair)}
    assert len(found) >= PLANTED - 1
    assert duplicates["across_splits"] > 0
    assert duplicates["probably_wrong_patient_ids"] == len(pairs)
    for pair in duplicates["pairs_across_splits"]:
        assert pair["patients_differ"]
        assert len({image["split"] for image in pair["images"]}) == 2
        assert {image["class"] for image in pair["images"]} == {"COVID-19"}
        assert all(len(image["sha256"]) == 64 for image in pair["images"])
    assert _accuracy(content, "column:source") == 1
    assert _accuracy(content, "metadata") == 1
    assert _accuracy(content, "borders_and_corners") > 0.9
    assert content["passed"] is False
    assert audit.get_int_custom_property("passed") == 0
    assert audit.get_int_custom_property("duplicates_across_splits") == duplicates["across_splits"]
    fields = [failure.split("(")[-1].rstrip(")") for failure in content["failures"]]
    assert set(fields) == {f"audit.{name}" for name in LIMITS}


def test_twice_the_same_comes_out(
    planted: dict[str, list[Any]],
    audit_of_planted: tuple[Any, dict[str, Any]],
    audited: Audited,
    tmp_path: Path,
) -> None:
    audit, _ = audited(planted, tmp_path / "again", **LIMITS)
    one, two = (Path(once.uri, AUDIT_FILE).read_bytes() for once in (audit, audit_of_planted[0]))
    assert one == two
