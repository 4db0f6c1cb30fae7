"""Folder layouts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from common.errors import InputError
from components.radiograph_example_gen.discovery import Discovery, Kind, discover, find_metadata
from components.radiograph_example_gen.settings import ClassFolders

CLASSES = (ClassFolders("COVID-19", ("COVID-19", "COVID")), ClassFolders("Normal", ("normal",)))


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def paths(found: Discovery) -> list[str]:
    return [candidate.path for candidate in found.candidates]


def test_kaggle_layout(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/1.png", "COVID/masks/1.png", "Normal/images/2.PNG")
    touch(tmp_path, "Normal/.DS_Store", "Normal/._2.png", "Normal/Thumbs.db", "Normal/notes.txt")
    touch(tmp_path, "Normal/old/3.png", "elsewhere/4.png")
    found = discover(tmp_path, CLASSES)
    assert paths(found) == ["COVID/images/1.png", "Normal/images/2.PNG"]
    assert [(item.path, item.kind) for item in found.left_out] == [
        ("Normal/notes.txt", Kind.OTHER_FILE),
        ("Normal/old", Kind.OTHER_FILE),
    ]
    assert found.found == {"COVID-19": 1, "Normal": 1}


def test_all_folders_of_a_class_are_read_whatever_their_case(tmp_path: Path) -> None:
    touch(tmp_path, "COVID-19/1.png", "covid/2.png", "COVID/3.png", "NORMAL/4.png")
    assert paths(discover(tmp_path, CLASSES)) == [
        "COVID-19/1.png", "COVID/3.png", "NORMAL/4.png", "covid/2.png",
    ]  # fmt: skip


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "COVID/1.png", "Normal/1.png")
    touch(tmp_path, "secret.png")
    (root / "COVID/out.png").symlink_to(tmp_path / "secret.png")
    (root / "COVID/in.png").symlink_to(root / "COVID/1.png")
    (root / "COVID/loop.png").symlink_to(root / "COVID/loop.png")
    found = discover(root, CLASSES)
    assert paths(found) == ["COVID/1.png", "COVID/in.png", "Normal/1.png"]
    loop, out = found.left_out
    assert (loop.path, loop.kind) == ("COVID/loop.png", Kind.BAD)
    assert loop.reason == "a symbolic link that leads back to itself"
    assert (out.path, out.kind) == ("COVID/out.png", Kind.BAD)
    assert "data.follow_links" in out.reason
    assert found.found["COVID-19"] == 4
    followed = discover(root, CLASSES, follow_links=True)
    assert paths(followed) == ["COVID/1.png", "COVID/in.png", "COVID/out.png", "Normal/1.png"]


def test_class_folders_that_are_links(tmp_path: Path) -> None:
    """What tools for data sets make: a folder of links into a store of theirs."""
    store = touch(tmp_path / "store", "c/1.png", "n/1.png")
    root = tmp_path / "data"
    root.mkdir()
    for name, place in (("COVID", "c"), ("Normal", "n")):
        (root / name).symlink_to(store / place)
    assert paths(discover(root, CLASSES, follow_links=True)) == ["COVID/1.png", "Normal/1.png"]
    refused = discover(root, CLASSES)
    assert paths(refused) == []
    assert {item.kind for item in refused.left_out} == {Kind.BAD}


def test_a_folder_name_in_another_normal_form(tmp_path: Path) -> None:
    """A Mac unpacks names decomposed; a configuration is typed composed."""
    classes = [ClassFolders("a", ("Lungenentzündung",)), ClassFolders("b", ("Normal",))]
    touch(tmp_path, unicodedata.normalize("NFD", "Lungenentzündung/1.png"), "Normal/1.png")
    assert len(discover(tmp_path, classes).candidates) == 2


def test_images_of_other_formats_are_counted_and_folders_of_no_class_named(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/1.png", "COVID/2.TIF", "COVID/images/3.nii.gz", "COVID/x.txt")
    touch(tmp_path, "Normal/1.png", "Normal/._1.png", "__MACOSX/1.png", "COVID/masks/1.png")
    touch(tmp_path, "Lung_Opacity/images/1.png", "Lung_Opacity/images/2.jpeg", "Notes/x.txt")
    found = discover(tmp_path, CLASSES)
    assert paths(found) == ["COVID/1.png", "Normal/1.png"]
    assert [(item.path, item.kind) for item in found.left_out] == [
        ("COVID/2.TIF", Kind.UNREAD_IMAGE),
        ("COVID/images/3.nii.gz", Kind.UNREAD_IMAGE),
        ("COVID/x.txt", Kind.OTHER_FILE),
    ]
    assert found.found == {"COVID-19": 3, "Normal": 1}
    assert found.beside == {"Lung_Opacity": 2}


def test_a_class_of_other_formats_alone_says_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/1.tif", "COVID/2.tiff", "COVID/3.nii", "Normal/1.png")
    with pytest.raises(
        InputError, match=r"below\), but 1 NIfTI and 2 TIFF: put PNGs, JPEGs or DICOMs there"
    ):
        discover(tmp_path, CLASSES)


def test_images_that_no_class_reads_are_counted_where_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/1.png", "Normal/1.png", "loose.png", "loose.txt", "masks/1.png")
    touch(tmp_path, "Normal/Normal/1.png", "Normal/Normal/a/b/2.jpg", "Normal/images (1)/1.png")
    touch(tmp_path, "COVID/images/deep/1.png", "other/deeper/images/1.png", "other/masks/1.png")
    touch(tmp_path, "COVID/images/masks/1.png", "COVID/empty/notes.txt")
    found = discover(tmp_path, CLASSES)
    assert paths(found) == ["COVID/1.png", "Normal/1.png"]
    assert found.unread == {
        ".": 1,
        "COVID/images/deep": 1,
        "Normal/Normal": 2,
        "Normal/images (1)": 1,
        "other/deeper": 1,
    }
    assert found.beside == {}


def test_what_a_link_leads_to_is_read_and_no_circle_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, "store/n/1.png", "store/c/1.png", "store/c/2.png", "COVID/3.png")
    (tmp_path / "Normal").symlink_to("store/n")
    (tmp_path / "COVID" / "1.png").symlink_to("../store/c/1.png")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "COVID" / "round").symlink_to("..")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "COVID" / "images").symlink_to("nowhere")
    found = discover(tmp_path, CLASSES)
    assert paths(found) == ["COVID/1.png", "COVID/3.png", "Normal/1.png"]
    assert (found.unread, found.beside) == ({"store/c": 1}, {})
    assert "leads nowhere" in next(i.reason for i in found.left_out if i.path == "COVID/images")


def test_a_class_nested_once_more_says_where_its_images_are(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/COVID/1.png", "COVID/COVID/2.png", "Normal/1.png")
    what = r"below\), but 2 images in 'COVID/COVID': put PNGs, JPEGs or DICOMs there"
    with pytest.raises(InputError, match=what):
        discover(tmp_path, CLASSES)


def test_a_class_folder_that_is_none_says_what_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "COVID", "Normal/1.png")
    with pytest.raises(InputError, match="COVID' is no folder: put"):
        discover(tmp_path, CLASSES)
    (tmp_path / "COVID").unlink()
    (tmp_path / "COVID").symlink_to("nowhere")
    with pytest.raises(InputError, match="COVID' is no folder, but a link that leads to none"):
        discover(tmp_path, CLASSES)


def test_a_table_whatever_its_case_and_none_that_is_no_file(tmp_path: Path) -> None:
    touch(tmp_path, "Metadata.CSV")
    assert find_metadata(tmp_path, None) == tmp_path / "Metadata.CSV"
    touch(tmp_path, "METADATA.csv")
    assert find_metadata(tmp_path, None) is None
    (tmp_path / "metadata.csv").symlink_to("nowhere.csv")
    with pytest.raises(InputError, match="is no file, but a link that leads to none"):
        find_metadata(tmp_path, None)
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.csv").mkdir()
    with pytest.raises(InputError, match="is no file: put the table there"):
        find_metadata(tmp_path, None)


@pytest.mark.parametrize("name", ["metadata.txt", "Metadata.json", "metadata.csv.gz", "a.xlsx"])
def test_what_may_be_a_table_is_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "COVID/1.png", "Normal/1.png", name, "README.txt", "notes.json")
    assert discover(tmp_path, CLASSES).tables == (name,)


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/1.png", "Normal/1.png")
    with open(bytes(tmp_path) + b"/COVID/\xff.png", "wb"):  # noqa: PTH123
        pass
    assert discover(tmp_path, CLASSES).left_out[0].path == "COVID/\\xff.png"


def test_missing_data_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.dir .* is not a folder"):
        discover(tmp_path / "no", CLASSES)


def test_missing_class_folder(tmp_path: Path) -> None:
    touch(tmp_path, "Normal/1.png")
    with pytest.raises(InputError, match="no sub-folder named 'COVID-19' or 'COVID'") as caught:
        discover(tmp_path, CLASSES)
    assert "data.classes" in str(caught.value)


def test_empty_class_folder(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/readme.txt", "Normal/1.png")
    with pytest.raises(InputError, match=r"no PNG, JPEG or DICOM in 'COVID'") as caught:
        discover(tmp_path, CLASSES)
    assert "data.classes" in str(caught.value)


def test_find_metadata(tmp_path: Path) -> None:
    assert find_metadata(tmp_path, None) is None
    touch(tmp_path, "metadata.csv")
    assert find_metadata(tmp_path, None) == tmp_path / "metadata.csv"
    with pytest.raises(InputError, match=r"^data\.metadata .* is not a file"):
        find_metadata(tmp_path, str(tmp_path / "other.csv"))
