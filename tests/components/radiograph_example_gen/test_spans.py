"""Folders that arrive span by span: which image is where, and what is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from components.radiograph_example_gen import RadiographExampleGen
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.fingerprint import fingerprint_folder
from components.radiograph_example_gen.inspection import inspect_file
from components.radiograph_example_gen.kept_splits import read_kept, write_kept
from components.radiograph_example_gen.listing import list_folder
from components.radiograph_example_gen.manifest import Entry, Summary, read_manifest
from components.radiograph_example_gen.selection import (
    decide,
    look,
    sift,
    summarize,
    with_headers,
)
from components.radiograph_example_gen.settings import Layout, SpanFolder, parse_settings
from components.radiograph_example_gen.span_facts import read_span_facts
from schema import contract
from tests.components.radiograph_example_gen.conftest import ANY_TABLE

FOLDERS = ("COVID-19", "Normal", "Viral Pneumonia")
RunExecutor = Callable[..., Any]
Select = Callable[..., "Selected"]


@dataclass(frozen=True)
class Selected:
    """What the manifest will say."""

    entries: dict[str, Entry]
    left_out: dict[str, LeftOut]
    summary: Summary

    @property
    def places(self) -> dict[str, str]:
        return {entry.sha256: entry.split for entry in self.entries.values()}


@pytest.fixture
def select(classes: Any, tmp_path: Path) -> Select:
    """(data folder, settings…) → Selected, as the executor comes to it, without Beam."""

    def call(data_dir: Path, **arguments: Any) -> Selected:
        component = RadiographExampleGen(
            str(data_dir), **{"classes": classes, "seed": 1, "limits": ANY_TABLE, **arguments}
        )
        settings = parse_settings(component.exec_properties)
        folder = look(settings)
        inspections = [
            inspect_file(settings.data_dir, each, settings.limits)
            for each in folder.found.candidates
        ]
        whole = with_headers(settings, folder, inspections)
        decision = decide(settings, sift(settings, whole, inspections), read_kept(settings))
        if decision.merged and settings.splits_dir:
            # As ServingPusher keeps it.
            version = len(list(Path(settings.splits_dir).glob("m/*"))) + 1
            place = Path(settings.splits_dir, "m", str(version))
            write_kept(str(place), settings, decision.merged.split.kept)
        return Selected(
            {entry.file: entry for entry in decision.entries()},
            {item.path: item for item in decision.left_out},
            summarize(settings, decision),
        )

    return call


def spans(*numbers: int, taken: Sequence[int] = ()) -> list[SpanFolder]:
    chosen = taken or numbers
    return [SpanFolder(n, f"span-{n}", taken=n in chosen) for n in numbers]


@pytest.fixture
def root(tree: Any) -> Path:
    """Three spans: 8, 4 and 4 images a class; patient p has two Normal images in each."""
    shutil.move(tree.root, tree.root.parent / "all")
    for number, count in ((1, 8), (2, 4), (3, 4)):
        span = type(tree)(tree.root / f"span-{number}")
        for index, folder in enumerate(FOLDERS):
            span.fill(folder, count, 1000 * number + 100 * index)
        span.metadata([[f"Normal/{i}.png", "Normal", "p"] for i in range(2)])
    return Path(tree.root)


def test_images_keep_their_split_and_a_window_only_takes_away(root: Path, select: Select) -> None:
    one = select(root, spans=spans(1))
    two = select(root, spans=spans(1, 2))
    window = select(root, spans=spans(1, 2, 3, taken=[2, 3]))
    everything = select(root, spans=spans(1, 2, 3))
    assert len(one.places) == 24
    assert one.places.items() < two.places.items() < everything.places.items()
    assert window.places.items() < everything.places.items()
    assert {file.partition("/")[0] for file in window.entries} == {"span-2", "span-3"}
    patients = {entry.split for entry in everything.entries.values() if entry.patient == "p"}
    assert len(patients) == 1

    summary = window.summary
    assert summary.images_found == dict.fromkeys(FOLDERS, 8)
    assert summary.images_per_class == 8
    assert [(s["number"], s["taken"]) for s in summary.spans] == [
        (1, False), (2, True), (3, True),
    ]  # fmt: skip
    assert sum(summary.spans[1]["images"].values()) == 12


def test_the_first_span_is_split_as_the_same_folder_without_spans(
    root: Path, select: Select
) -> None:
    plain = select(root / "span-1")
    assert select(root, spans=spans(1)).places == plain.places
    assert '"spans"' not in plain.summary.to_json()


def test_what_is_kept_holds_the_split_where_a_span_is_gone(
    root: Path, select: Select, tmp_path: Path
) -> None:
    kept = {"splits_dir": str(tmp_path / "kept")}
    before = select(root, spans=spans(1, 2), **kept).places
    assert select(root, spans=spans(1, 2), **kept).places == before
    shutil.rmtree(root / "span-1")
    (root / "span-2/Normal/3.png").unlink()
    after = select(root, spans=spans(2, 3), **kept).places
    assert {sha: before[sha] for sha in after if sha in before} == {
        sha: split for sha, split in after.items() if sha in before
    }
    assert len(after.keys() & before.keys()) == 11
    with pytest.raises(InputError, match=r"span 2, the first: class 'Normal' has 3"):
        select(root, spans=spans(2, 3))


def test_a_kept_split_that_cannot_be_read_is_an_error(
    root: Path, select: Select, tmp_path: Path
) -> None:
    kept = {"splits_dir": str(tmp_path / "kept")}
    select(root, spans=spans(1), **kept)
    (file,) = (tmp_path / "kept").glob("m/1/splits/*")
    file.write_text("sha256\nx\n")
    with pytest.raises(InputError, match=r"keeps the split of earlier spans, can't be read"):
        select(root, spans=spans(1), **kept)


def test_a_copy_in_a_later_span_counts_once_and_the_earlier_wins(
    root: Path, select: Select
) -> None:
    shutil.copy(root / "span-1/Normal/5.png", root / "span-2/Normal/again.png")
    shutil.copy(root / "span-1/Normal/6.png", root / "span-2/COVID-19/other.png")
    run = select(root, spans=spans(1, 2))
    left_out = run.left_out
    copy = left_out["span-2/Normal/again.png"]
    assert (copy.kind, copy.reason) == (
        Kind.DUPLICATE, "byte-identical with span-1/Normal/5.png",
    )  # fmt: skip
    for path in ("span-1/Normal/6.png", "span-2/COVID-19/other.png"):
        assert left_out[path].kind is Kind.BAD
        assert "another class in another span" in left_out[path].reason
    assert "span-1/Normal/5.png" in run.entries
    assert "span-1/Normal/6.png" not in run.entries
    assert run.summary.duplicates_dropped == 1


def test_one_table_may_describe_all_spans(root: Path, select: Select) -> None:
    table = root / "table.csv"
    table.write_text(
        "file,patient_id\nspan-1/Normal/0.png,x\nspan-2/Normal/0.png,y\nNormal/1.png,z\n"
    )
    run = select(root, spans=spans(1, 2), metadata_csv=str(table))
    who = {file: entry.patient for file, entry in run.entries.items() if entry.patient}
    assert who == {"span-1/Normal/0.png": "x", "span-2/Normal/0.png": "y"}


def flattened(root: Path, number: int, *, metadata: bool = True) -> None:
    """Turn a span's class folders into a flat tree, whose table says the classes."""
    span = root / f"span-{number}"
    rows = ["file,label,patient_id"]
    for folder in FOLDERS:
        for image in sorted((span / folder).glob("*.png")):
            patient = "p" if folder == "Normal" and image.stem in ("0", "1") and metadata else ""
            name = f"study{image.stem}/{folder[0]}.png"
            (span / name).parent.mkdir(exist_ok=True)
            image.rename(span / name)
            rows.append(f"{name},{folder},{patient}")
        (span / folder).rmdir()
    (span / "metadata.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("taken", [(), (2, 3)])
def test_tables_in_the_spans_give_the_split_of_class_folders(
    root: Path, select: Select, taken: Sequence[int]
) -> None:
    before = select(root, spans=spans(1, 2, 3, taken=taken))
    flattened(root, 2)
    # Class folders here and a table there: each span is read by what it has.
    mixed = select(root, spans=spans(1, 2, 3, taken=taken))
    flattened(root, 1)
    flattened(root, 3)
    after = select(root, spans=spans(1, 2, 3, taken=taken), layout=Layout("table"))
    assert before.places == mixed.places == after.places
    assert before.summary.digest == after.summary.digest
    assert before.summary.spans == after.summary.spans
    for run in (mixed, after):
        assert {e.sha256: (e.class_name, e.patient) for e in run.entries.values()} == {
            e.sha256: (e.class_name, e.patient) for e in before.entries.values()
        }
    assert all(file.startswith("span-") for file in after.entries)


def test_what_a_spans_table_does_not_name_is_listed_by_its_path(root: Path, select: Select) -> None:
    for number in (1, 2, 3):
        flattened(root, number)
    for number in (1, 3):
        (root / f"span-{number}/study0/N.png").rename(root / f"span-{number}/loose.png")
    run = select(root, spans=spans(1, 2, 3, taken=[2, 3]), layout=Layout("table"))
    assert run.left_out["span-3/loose.png"].kind is Kind.FILE_WITHOUT_ROW
    assert run.left_out["span-3/study0/N.png"].kind is Kind.ROW_WITHOUT_IMAGE
    assert not [path for path in run.left_out if path.startswith("span-1")]
    said = [one["sentence"] for one in run.summary.remarks]
    assert len([one for one in said if "says the class of each image" in one]) == 2
    assert len([one for one in said if "no column says" in one]) == 1


def test_a_table_that_says_classes_is_each_spans_own(root: Path, select: Select) -> None:
    table = root / "table.csv"
    table.write_text("file,label\nspan-1/Normal/0.png,Normal\n")
    with pytest.raises(InputError, match="each span has a table of its own"):
        select(root, spans=spans(1, 2), metadata_csv=str(table), layout=Layout("table"))
    (root / "span-2/metadata.csv").unlink()
    with pytest.raises(InputError, match=r"there is no metadata.csv in .*span-2"):
        flattened(root, 1)
        select(root, spans=spans(1, 2), layout=Layout("table"))


def test_tables_of_spans_count_in_the_cache_key(root: Path, classes: Any) -> None:
    for number in (1, 2):
        flattened(root, number)

    def key() -> str:
        component = RadiographExampleGen(
            str(root), classes=classes, seed=1, limits=ANY_TABLE, spans=spans(1, 2),
            layout=Layout("table"),
        )  # fmt: skip
        settings = parse_settings(component.exec_properties)
        listing = list_folder(settings)
        return fingerprint_folder(settings.data_dir, listing.found, listing.metadata)

    before = key()
    table = root / "span-2/metadata.csv"
    table.write_text(table.read_text().replace("p\n", "q\n"))
    assert key() != before


def test_the_executor_keeps_the_split_and_writes_the_facts_of_the_last_two_spans(
    root: Path, run_executor: RunExecutor, tmp_path: Path
) -> None:
    given = {"spans": spans(1, 2, 3, taken=[3]), "splits_dir": str(tmp_path / "kept")}
    run = run_executor(root, **given)
    # It is kept once something that was trained on it is pushed.
    assert not (tmp_path / "kept").exists()
    (kept,) = Path(run.manifest.uri, "splits").iterdir()
    assert len(kept.read_text().splitlines()) == 1 + 48
    assert {e.file.partition("/")[0] for e in read_manifest(run.manifest.uri)} == {"span-3"}
    facts = read_span_facts(run.manifest.uri)
    assert list(facts) == [2, 3]
    assert len(facts[3][contract.MEAN]) == 12
    assert contract.PATIENT not in facts[3]
    assert set(facts[2][contract.LABEL_TEXT]) == set(FOLDERS)


def test_a_class_without_images_in_a_window_names_the_window(root: Path, select: Select) -> None:
    for folder in FOLDERS:
        for name in ("1.png", "2.png", "3.png"):
            (root / "span-3" / folder / name).unlink()
    (root / "span-3/metadata.csv").unlink()
    with pytest.raises(InputError, match=r"data\.window says how many; now span 3 is taken"):
        select(root, spans=spans(1, 2, 3, taken=[3]))


def test_a_span_without_a_class_is_an_error_that_names_it(root: Path, select: Select) -> None:
    shutil.rmtree(root / "span-2/Normal")
    with pytest.raises(InputError, match=r"class 'Normal': '.*span-2' has no sub-folder"):
        select(root, spans=spans(1, 2))


def test_what_is_kept_only_grows(root: Path, select: Select, tmp_path: Path) -> None:
    given = {"splits_dir": str(tmp_path / "kept")}
    every = select(root, spans=spans(1, 2), **given).places
    # A run that goes back knows less, and a patient's id may come late.
    (root / "span-1/metadata.csv").write_text("file,patient_id\nNormal/0.png,q\n")
    select(root, spans=spans(1), **given)
    first, second = (file.read_text() for file in sorted((tmp_path / "kept").glob("m/*/splits/*")))
    assert len(second.splitlines()) == len(first.splitlines())
    assert '"[""p"", ""q""]"' in second
    assert select(root, spans=spans(1, 2), **given).places == every
