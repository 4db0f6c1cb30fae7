"""A flat tree whose table says the classes: what is taken, what is left out, what stops a run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.errors import InputError
from components.radiograph_example_gen.discovery import Kind
from components.radiograph_example_gen.fingerprint import fingerprint_folder
from components.radiograph_example_gen.flat_tree import leaves
from components.radiograph_example_gen.listing import Listing, list_folder
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from components.radiograph_example_gen.selection import look
from components.radiograph_example_gen.settings import (
    ClassFolders,
    Layout,
    Settings,
    classes_to_json,
    layout_to_json,
    limits_to_json,
    parse_settings,
)
from models.conversion.stored_png import stored_png
from pipeline.check.data import check_data
from pipeline.config.pipeline_config import load_config
from tests.components.radiograph_example_gen.conftest import MakePng
from tests.dicoms import dataset, encoded

TABLE = {"kind": "table"}
CLASSES: list[Any] = [
    {"name": "Ill", "folders": [], "labels": ["Pneumonia/Viral/COVID-19", "sick"]},
    {"name": "Well", "folders": [], "labels": ["No Finding"]},
]
# Path and label of six images a class, in folders that say nothing.
IMAGES = [
    (f"study{number // 3}/{number}.png", ("Pneumonia/Viral/COVID-19", "no finding")[number % 2])
    for number in range(12)
]
Rows = Sequence[Sequence[str]]


@pytest.fixture
def flat(tmp_path: Path, make_png: MakePng) -> Path:
    """Twelve images of two classes, and a table that names them."""
    root = tmp_path / "flat"
    for number, (path, _) in enumerate(IMAGES):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(make_png(number))
    table(root, IMAGES)
    return root


def table(root: Path, rows: Rows, header: str = "file,label", name: str = "metadata.csv") -> None:
    lines = [header, *(",".join(row) for row in rows)]
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def settings_of(root: Path, **layout: Any) -> Settings:
    return parse_settings({
        "data_dir": str(root),
        "metadata_csv": layout.pop("metadata", None),
        "classes": classes_to_json(layout.pop("classes", CLASSES)),
        "follow_links": layout.pop("follow_links", False),
        "seed": 1,
        "limits": limits_to_json({"max_unmatched_fraction": layout.pop("unmatched", 0.5)}),
        "test_fraction": "0.2",
        "eval_fraction": "0.3",
        "layout": layout_to_json(Layout(**{**TABLE, **layout})),
    })  # fmt: skip


def listed(root: Path, **layout: Any) -> Listing:
    return list_folder(settings_of(root, **layout))


def left_out(listing: Listing) -> dict[tuple[str, Kind], str]:
    assert listing.matched is not None
    items = (*listing.found.left_out, *listing.matched.left_out)
    return {(item.path, item.kind): item.reason for item in items}


def remarks(listing: Listing) -> str:
    assert listing.matched is not None
    return "\n".join(remark.sentence for remark in listing.matched.remarks)


def classes_of(listing: Listing) -> dict[str, str]:
    return {each.path: each.class_name for each in listing.found.candidates}


def test_the_table_says_the_class_wherever_the_image_lies(flat: Path) -> None:
    found = listed(flat)
    assert classes_of(found) == {
        path: "Well" if label == "no finding" else "Ill" for path, label in IMAGES
    }
    assert found.found.found == {"Ill": 6, "Well": 6}
    assert left_out(found) == {}
    assert "the column 'label' says the class of each image" in remarks(found)


def test_labels_of_no_class_and_empty_ones_are_listed_and_counted(flat: Path) -> None:
    rows = [*IMAGES[:8], (IMAGES[8][0], "Tuberculosis"), (IMAGES[9][0], ""), (IMAGES[10][0], "n/a")]
    table(flat, [*rows, ("gone.png", "todo")])
    found = listed(flat)
    name = flat / "metadata.csv"
    assert left_out(found) == {
        (IMAGES[8][0], Kind.LABEL): f"{name}, line 10: no class has the label 'Tuberculosis'; to "
        "take it, add it to a class's labels",
        (IMAGES[9][0], Kind.LABEL): f"{name}, line 11: it has no label; fill it in",
        (IMAGES[10][0], Kind.LABEL): f"{name}, line 12: it has no label; fill it in",
        ("gone.png", Kind.LABEL): f"{name}, line 13: no class has the label 'todo'; to take it, "
        "add it to a class's labels",
        (IMAGES[11][0], Kind.FILE_WITHOUT_ROW): f"no row of {name} names it",
    }  # fmt: skip
    said = remarks(found)
    assert "2 of 12 rows have a label of no class, and are left out: 'Tuberculosis' (1), " in said
    assert "2 of 12 rows have no label" in said
    assert f"1 file below the data folder is named by no row of {name}" in said


@pytest.mark.parametrize(
    ("cell", "path", "reason"),
    [
        ("gone.png", "gone.png", "no file below the data folder goes by this name: put it there"),
        ("other/0.png", "other/0.png", "no file below the data folder goes by this name"),
        ("study0", "study0", "no file below the data folder goes by this name"),
        ("../x.png", "../x.png", "'../x.png' leaves the data folder: write the path relative"),
        ("study0/../../x.png", "../x.png", "leaves the data folder"),
        ("/etc/passwd", "/etc/passwd", "'/etc/passwd' leaves the data folder"),
        (r"C:\images\0.png", "C:/images/0.png", "leaves the data folder"),
        (r"\\server\images\0.png", "//server/images/0.png", "leaves the data folder"),
        ("", "", "no file is named: fill in the column 'file', or delete the row"),
        ("x" * 5000 + ".png", "x" * 5000 + ".png", "no file below the data folder goes by"),
    ],
)
def test_rows_without_a_file_are_listed_by_line(
    flat: Path, make_png: MakePng, cell: str, path: str, reason: str
) -> None:
    (flat.parent / "x.png").write_bytes(make_png(99))
    table(flat, [*IMAGES, (cell, "sick")])
    found = listed(flat)
    ((key, said),) = left_out(found).items()
    assert key == (path, Kind.ROW_WITHOUT_IMAGE)
    assert said.startswith(f"{flat / 'metadata.csv'}, line 14: ") and reason in said
    assert len(found.found.candidates) == 12
    assert "1 of 13 rows go by no image" in remarks(found)
    with pytest.raises(InputError, match=r"1 of 13 rows of the classes go by no image") as caught:
        listed(flat, unmatched=0.05)
    assert said in str(caught.value)


@given(st.lists(st.sampled_from(["..", ".", "a", "b c", "ü"]), min_size=1, max_size=6))
def test_a_path_leaves_where_it_starts_above(parts: list[str]) -> None:
    """As the table's reader normalises it."""
    import posixpath

    depth, lowest = 0, 0
    for part in parts:
        depth += {"..": -1, ".": 0}.get(part, 1)
        lowest = min(lowest, depth)
    normal = posixpath.normpath("/".join(parts))
    assert leaves(normal) == (lowest < 0 and ".." in normal.split("/"))
    assert leaves(f"/{normal}")


def test_links_out_of_the_folder(flat: Path, make_png: MakePng) -> None:
    (flat.parent / "far").mkdir()
    (flat.parent / "far" / "x.png").write_bytes(make_png(99))
    (flat / "x.png").symlink_to(flat.parent / "far" / "x.png")
    (flat / "far").symlink_to(flat.parent / "far")
    (flat / "here").symlink_to(flat / "study0")
    (flat / "up").symlink_to(flat.parent)
    table(flat, [*IMAGES[1:], ("x.png", "sick"), ("far/x.png", "sick"), ("here/0.png", "sick")])
    found = listed(flat)
    refused = left_out(found)
    for path, line in (("x.png", 13), ("far/x.png", 14)):
        reason = refused[path, Kind.BAD]
        assert f"line {line}: a symbolic link out of the data folder" in reason
        assert "data.follow_links" in reason
    assert found.found.found == {"Ill": 8, "Well": 6}
    assert classes_of(found)["here/0.png"] == "Ill"
    assert "x.png" not in classes_of(found)
    followed = classes_of(listed(flat, follow_links=True))
    assert followed["x.png"] == followed["far/x.png"] == "Ill"


def test_two_labels_for_one_file_stop_the_run(flat: Path) -> None:
    path = IMAGES[0][0]
    for other in ("No Finding", "Tuberculosis"):
        table(flat, [*IMAGES, (path.upper(), other)])
        with pytest.raises(InputError, match=r"lines 2 and 14 give .* two labels") as caught:
            listed(flat)
        assert repr(path) in str(caught.value) and repr(other) in str(caught.value)
        assert "correct or delete one" in str(caught.value)


def test_rows_that_say_the_same_or_nothing_to_use(flat: Path) -> None:
    path = IMAGES[0][0]
    ours = [(*IMAGES[0], "p1"), *((*each, "p2") for each in IMAGES[1:])]
    # Another word for the same class; no label at all.
    table(flat, [*ours, (path, "sick", "p1"), (path, "", "p1")], "file,label,patient_id")
    found = listed(flat)
    assert len(found.found.candidates) == 12
    assert "line 14: says the same as line 2; used once" in left_out(found)[path, Kind.METADATA]
    assert "line 15: it has no label" in left_out(found)[path, Kind.LABEL]
    table(flat, [*ours, (path, "sick", "p9")], "file,label,patient_id")
    with pytest.raises(InputError, match="lines 2 and 14 contradict each other about"):
        listed(flat)
    # Of no class, whatever they are: neither is used.
    table(flat, [*IMAGES[2:], (path, "effusion"), (path, "fracture")])
    assert path not in classes_of(listed(flat))


def test_views(flat: Path) -> None:
    views = ["PA", "ap", "L", ""]
    rows = [(*each, views[min(n // 4, 1)] if n < 10 else views[n - 8]) for n, each in
            enumerate(IMAGES)]  # fmt: skip
    table(flat, rows, "file,label,View Position")
    found = listed(flat, views=("PA", "AP"))
    assert len(found.found.candidates) == 10
    refused = left_out(found)
    assert "line 12: the view is 'L'; data.views takes PA, AP" in refused[rows[10][0], Kind.VIEW]
    assert "the view is 'unknown'" in refused[rows[11][0], Kind.VIEW]
    assert "2 of 12 rows are of views that data.views doesn't take" in remarks(found)
    assert "'L' (1)" in remarks(found)
    assert len(listed(flat).found.candidates) == 12
    table(flat, [*rows, (rows[0][0], rows[0][1], "L")], "file,label,View Position")
    with pytest.raises(InputError, match="lines 2 and 14 contradict each other"):
        listed(flat, views=("PA", "AP"))
    table(flat, IMAGES)
    with pytest.raises(InputError, match=r"has no column 'view', and data\.views is given"):
        listed(flat, views=("PA",))


def test_columns_by_the_configuration(flat: Path) -> None:
    # `label` and `file` are there, too, and mean something else.
    rows = [("scan", path, "x", label, f"p{n}") for n, (path, label) in enumerate(IMAGES)]
    table(flat, rows, "file;Where is it;label;Diagnosis;Fall".replace(";", ","), "list.csv")
    (flat / "metadata.csv").unlink()
    columns = {"file": "where-is-it", "label": "DIAGNOSIS", "patient_id": "fall"}
    given = {"columns": columns, "metadata": str(flat / "list.csv")}
    found = listed(flat, **given)
    assert len(found.found.candidates) == 12
    assert found.matched is not None
    assert {row.patient for row in found.matched.by_path.values()} == {f"p{n}" for n in range(12)}
    assert "the column 'Diagnosis' says the class" in remarks(found)
    given["columns"] = {**columns, "label": "Befund"}
    with pytest.raises(InputError, match=r"has no column 'Befund', which data\.columns names"):
        listed(flat, **given)
    given["columns"] = {"file": "Where is it", "label": "Fall"}
    with pytest.raises(InputError, match=r"labels of no class there: 'p0' \(1\), 'p1' \(1\), "):
        listed(flat, **given)


def test_a_table_without_labels_and_no_table(flat: Path) -> None:
    table(flat, [[path] for path, _ in IMAGES], "file")
    with pytest.raises(InputError, match=r"has no column 'label', and data\.layout is table"):
        listed(flat)
    (flat / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"data\.layout is table, but there is no metadata\.csv"):
        listed(flat)
    with pytest.raises(InputError, match="is not a folder: give the folder that the images"):
        listed(flat / "nowhere")


def test_names_and_the_files_that_they_mean(flat: Path, make_png: MakePng) -> None:
    (flat / "study0" / "masks").mkdir()
    (flat / "study0" / "masks" / "4.png").write_bytes(make_png(50))
    (flat / "notes.txt").write_text("hello")
    (flat / "study1" / "0.png").write_bytes(make_png(51))
    (flat / "study3" / "z.dcm").write_bytes(make_png(52))
    rows = [*IMAGES[6:], ("0.png", "sick"), ("4", "sick"), ("STUDY1/5.PNG", "sick")]
    table(flat, [*rows, ("study1/3", "sick"), ("study3/z.png", "sick")])
    found = listed(flat)
    refused = left_out(found)
    assert (
        "2 files go by this name ('study0/0.png', 'study1/0.png'): write the path"
        in (refused["0.png", Kind.ROW_WITHOUT_IMAGE])
    )
    # Another kind of file is another file.
    assert ("study3/z.png", Kind.ROW_WITHOUT_IMAGE) in refused
    paths = classes_of(found)
    assert {"study1/4.png", "study1/5.png", "study1/3.png"} <= paths.keys()
    unnamed = {path for path, kind in refused if kind is Kind.FILE_WITHOUT_ROW}
    assert unnamed == {
        "notes.txt", "study0/0.png", "study0/1.png", "study0/2.png", "study1/0.png", "study3/z.dcm",
    }  # fmt: skip
    assert "2 of 11 rows found their image without its extension" in remarks(found)


def test_layout_by_itself(flat: Path, make_png: MakePng) -> None:
    """Only where nothing else could be meant."""
    given: dict[str, Any] = {"kind": "auto", "classes": [
        {**each, "folders": [each["name"]]} for each in CLASSES
    ]}  # fmt: skip
    assert len(listed(flat, **given).found.candidates) == 12
    (flat / "Ill").mkdir()
    with pytest.raises(InputError, match="'Ill': no PNG, JPEG or DICOM in"):
        listed(flat, **given)
    (flat / "Ill").rmdir()
    with pytest.raises(InputError, match="no sub-folder named"):
        listed(flat, **{**given, "kind": "folders"})
    table(flat, [[path] for path, _ in IMAGES], "file")
    with pytest.raises(InputError, match="no sub-folder named"):
        listed(flat, **given)


def test_what_counts_in_the_cache_key(flat: Path, make_png: MakePng) -> None:
    def key() -> str:
        found = listed(flat)
        return fingerprint_folder(str(flat), found.found, found.metadata)

    first = key()
    (flat / "unnamed.png").write_bytes(make_png(77))
    assert key() == first
    (flat / IMAGES[0][0]).write_bytes(make_png(78))
    second = key()
    assert second != first
    table(flat, [(IMAGES[0][0], "No Finding"), *IMAGES[1:]])
    assert key() not in (first, second)


def test_settings_without_a_layout_have_the_keys_that_they_had() -> None:
    assert layout_to_json(None) is None and layout_to_json(Layout()) is None
    assert "labels" not in classes_to_json([{"name": "a", "folders": ["a"]}])
    again = parse_settings({
        "data_dir": "d", "classes": classes_to_json(CLASSES), "seed": 1, "limits": "{}",
        "test_fraction": "0.2", "eval_fraction": "0.3",
        "layout": layout_to_json(Layout("table", {"label": "finding"}, ("PA",))),
    })  # fmt: skip
    assert again.layout == Layout("table", {"label": "finding"}, ("PA",))
    assert again.classes[1] == ClassFolders("Well", (), ("No Finding",))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"kind": "tree"}, r"data\.layout is 'tree'"),
        ({"columns": {"finding": "label"}}, r"data\.columns: 'finding' is none of file, label"),
        ({"kind": "auto", "views": ("PA",)}, r"data\.views: needs data\.layout: table"),
        ({"classes": [{"name": "a"}, {"name": "b", "labels": ["A"]}]}, "may mean two classes"),
        ({"classes": [{"name": "a"}, {"name": "b", "labels": [" "]}]}, "labels of 'b' must be"),
        ({"kind": "folders"}, r"data\.classes: 'Ill' needs a name and at least one folder"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, layout: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_of(tmp_path, **layout)


def _flattened(root: Path, target: Path) -> None:
    """Put the images of class folders below one another, named by number, with a table."""
    rows = []
    patients = {}
    if (root / "metadata.csv").exists():
        lines = (root / "metadata.csv").read_text().splitlines()[1:]
        patients = {line.split(",")[0]: line.split(",")[2] for line in lines}
    for number, path in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        place = f"{number % 5}/{number % 2}/{number}{path.suffix if number % 3 else ''}"
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / place)
        key = path.relative_to(root).as_posix()
        rows.append((place, path.parent.name, patients.get(key, "")))
    table(target, rows, "file,label,patientid")


@pytest.mark.parametrize("with_patients", [False, True])
def test_the_same_split_as_of_class_folders(
    tree: Any, run_executor: Callable[..., Any], tmp_path: Path, with_patients: bool
) -> None:
    if with_patients:
        names = [f"{folder}/{n}.png" for folder in ("COVID-19", "Normal", "Viral Pneumonia")
                 for n in range(8)]  # fmt: skip
        tree.metadata([(name, "", f"p{n // 2}") for n, name in enumerate(names)])
    flat = tmp_path / "flat"
    _flattened(tree.root, flat)
    before = run_executor(tree.root, seed=5)
    after = run_executor(flat, seed=5, layout=Layout("table"), beam=with_patients)
    of_folders, of_table = (
        {entry.sha256: (entry.class_name, entry.split, entry.patient) for entry in
         read_manifest(run.manifest.uri)}
        for run in (before, after)
    )  # fmt: skip
    assert of_folders == of_table and len(of_table) == 24
    digests = [read_summary(run.manifest.uri)["digest"] for run in (before, after)]
    assert digests[0] == digests[1]
    assert read_left_out(after.manifest.uri) == []


def test_dicoms_without_a_suffix_and_a_text_that_is_none(
    tree: Any, run_executor: Callable[..., Any], tmp_path: Path, salt_file: Path
) -> None:
    for path in tree.root.rglob("*.png"):
        path.write_bytes(stored_png(np.asarray(Image.open(path))))
    before = run_executor(tree.root)
    flat = tmp_path / "flat"
    flat.mkdir()
    rows = []
    for number, path in enumerate(sorted(tree.root.rglob("*.png"))):
        content = encoded(dataset(np.asarray(Image.open(path))), "RLE")
        # As PACS export them; some names have dots.
        place = f"ST{number // 4}/1.2.840.{number}" if number % 2 else f"ST{number // 4}/I{number}"
        (flat / place).parent.mkdir(exist_ok=True)
        (flat / place).write_bytes(content)
        rows.append((place, path.parent.name))
    (flat / "notes").write_text("hello")
    table(flat, [*rows, ("notes", "Normal")])
    after = run_executor(flat, layout=Layout("table"))
    digests = [read_summary(run.manifest.uri)["digest"] for run in (before, after)]
    assert digests[0] == digests[1]
    ((path, kind, reason),) = {
        (item.path, item.kind, item.reason)
        for item in read_left_out(after.manifest.uri)
        if item.kind is not Kind.METADATA
    }
    assert (path, kind) == ("notes", Kind.BAD) and "another kind of file" in reason
    # Patients' ids are hashed with the installation's salt, not with one for this run alone.
    assert salt_file.exists()


def test_check_and_the_node_say_the_same(
    flat: Path, run_executor: Callable[..., Any], make_png: MakePng
) -> None:
    (flat / "extra.png").write_bytes(make_png(500))
    rows = [*IMAGES, ("extra.png", "Tuberculosis"), ("gone.png", "sick")]
    table(flat, rows)
    data = {"layout": "table", "max_unmatched_fraction": 1.0, "healthy": None, "classes": [
        {"name": each["name"], "labels": each["labels"]} for each in CLASSES
    ]}  # fmt: skip
    found = check_data(load_config(overrides={"data": {"dir": flat, **data}, "seed": 1}))
    run = run_executor(flat, classes=CLASSES, layout=Layout("table"))
    assert found["problems"] == []
    assert found["digest"] == read_summary(run.manifest.uri)["digest"]
    items = read_left_out(run.manifest.uri)
    assert found["left_out"] == Counter(item.kind.value for item in items)
    assert {item["path"]: item["reason"] for item in found["files"]} == {
        item.path: item.reason for item in items
    }


def test_too_many_bad_files_stop_before_anything_is_opened(flat: Path, tmp_path: Path) -> None:
    for path, _ in IMAGES[:4]:
        (flat / path).rename(tmp_path / Path(path).name)
        (flat / path).symlink_to(tmp_path / Path(path).name)
    with pytest.raises(InputError, match="4 of 12 images are unusable"):
        look(settings_of(flat))
