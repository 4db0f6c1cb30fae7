"""A format is a module and an entry in the table: nothing else knows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from PIL import Image

from common.code_digest import closure
from common.errors import InputError
from components.radiograph_example_gen import readers
from components.radiograph_example_gen.discovery import Candidate, Kind, discover
from components.radiograph_example_gen.fingerprint import fingerprint_folder
from components.radiograph_example_gen.inspection import Inspection, inspect_file
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from components.radiograph_example_gen.settings import ClassFolders, Limits
from models.conversion import jpeg
from models.deep_images import UnusableImageError, scaled
from schema import contract
from tests.components.radiograph_example_gen import framed

FRAMED: readers.Reader = framed


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table beside PNG."""
    monkeypatch.setattr(readers, "READERS", (*readers.READERS, FRAMED))


def _framed(tree: Any, make_png: Callable[..., bytes]) -> dict[str, bytes]:
    """Five images of Normal as the format has them, and what the examples have to hold of them."""
    folder: Path = tree.root / "Normal"
    held = {}
    for index in range(4):
        held[f"Normal/{index}.FRM"] = content = (folder / f"{index}.png").read_bytes()
        (folder / f"{index}.png").unlink()
        (folder / f"{index}.FRM").write_bytes(framed.framed(content))
    (folder / "4.png").unlink()
    (folder / "4.framed").write_bytes(framed.framed(make_png(1, 40, "I;16", 16)))
    return held | {"Normal/4.framed": scaled(make_png(1, 40, "I;16", 16), 12)}


def _features(run: Any) -> dict[str, Any]:
    files = [str(path) for path in Path(run.examples.uri).rglob("*.gz")]
    found = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
    features = [tf.train.Example.FromString(item).features.feature for item in found]
    return {each[contract.PATH].bytes_list.value[0].decode(): each for each in features}


def test_a_new_format_is_discovered_inspected_written_and_counted(
    entry: None, tree: Any, run_executor: Callable[..., Any], make_png: Callable[..., bytes]
) -> None:
    held = _framed(tree, make_png)
    tree.metadata([("Normal/2.FRM", "Normal", "p"), ("Normal/4.FRAMED", "Normal", "q")])
    run = run_executor(tree.root, beam=True, limits={"bits_stored": 12})
    assert read_left_out(run.manifest.uri) == []
    summary = read_summary(run.manifest.uri)
    assert summary["images_found"] == {"COVID-19": 8, "Normal": 8, "Viral Pneumonia": 8}
    assert summary["split_totals"] == {"train": 15, "eval": 6, "test": 3}
    patients = {entry.file: entry.patient for entry in read_manifest(run.manifest.uri)}
    assert (patients["Normal/2.FRM"], patients["Normal/4.framed"]) == ("p", "q")
    features = _features(run)
    assert len(features) == 24
    for path, content in held.items():
        assert features[path][contract.IMAGE].bytes_list.value == [content]
        assert features[path][contract.WIDTH].int64_list.value == [40]
        size = (tree.root / path).stat().st_size
        assert features[path][contract.BYTES].int64_list.value == [size]
        assert features[path][contract.STD].float_list.value[0] > 50


def test_without_its_entry_it_is_none(
    tree: Any, run_executor: Callable[..., Any], make_png: Callable[..., bytes]
) -> None:
    paths = _framed(tree, make_png)
    with pytest.raises(InputError, match="'Normal' has 3 usable images"):
        run_executor(tree.root)
    classes = [ClassFolders("Normal", ("Normal",))]
    left_out = discover(tree.root, classes).left_out
    assert {item.path for item in left_out} == paths.keys()
    kinds = Counter((item.kind, item.reason) for item in left_out)
    assert kinds == {(Kind.OTHER_FILE, "not a PNG, JPEG or DICOM by its name"): 5}


def test_what_is_wrong_with_it_is_said(
    entry: None, tree: Any, run_executor: Callable[..., Any], make_png: Callable[..., bytes]
) -> None:
    bad = {
        "huge.frm": make_png(1, 20),
        "dark.frm": make_png(2, 40, "I;16", 16),
        "cut.frm": make_png(3)[:-20],
        "nothing.frm": b"",
    }
    for name, content in bad.items():
        (tree.root / "Normal" / name).write_bytes(framed.framed(content))
    (tree.root / "Normal" / "none.frm").write_bytes(b"no frame at all")
    (tree.root / "Normal" / "x.tif").touch()
    (tree.root / "Normal" / "notes.txt").touch()
    run = run_executor(tree.root, limits={"max_bad_fraction": 0.5})
    assert read_summary(run.manifest.uri)["images_found"]["Normal"] == 14
    assert [(i.path.rpartition("/")[2], i.kind) for i in read_left_out(run.manifest.uri)] == [
        *((name, Kind.BAD) for name in ("cut.frm", "dark.frm", "huge.frm", "none.frm")),
        ("notes.txt", Kind.OTHER_FILE),
        ("nothing.frm", Kind.BAD),
        ("x.tif", Kind.UNREAD_IMAGE),
    ]
    reasons = [item.reason for item in read_left_out(run.manifest.uri)]
    assert reasons[0] == "cannot be decoded: truncated: the PNG has no end mark"
    assert "16-bit PNG whose grey values use at most 12" in reasons[1]
    assert reasons[2] == "20×20 pixels: a side is below data.min_side = 32"
    assert (
        reasons[3] == "not a PNG, JPEG, DICOM or FRAMED but another kind of file, whatever its name"
    )
    assert reasons[4] == "not a PNG, JPEG, DICOM or FRAMED by its name"
    assert reasons[5] == "a frame around nothing"
    assert reasons[6] == "TIFF by its name, and only PNG, JPEG, DICOM or FRAMED is read"
    (tree.root / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"no PNG, JPEG, DICOM or FRAMED in .*put PNGs, JPEGs, DICOMs or FRA"
    ):
        discover(tree.root, [ClassFolders("empty", ("empty",))])


def test_the_content_decides_who_reads_a_file(
    entry: None, tmp_path: Path, make_png: Callable[..., bytes]
) -> None:
    contents = {"a.png": framed.framed(make_png(1)), "b.frm": make_png(1)}
    found: list[Inspection] = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found += [inspect_file(str(tmp_path), Candidate(name, "a"), Limits())]
    assert [item.reason for item in found] == ["", ""]
    assert found[0].std == found[1].std
    assert [readers.reader_of(content) for content in contents.values()] == [FRAMED, readers.png]
    with pytest.raises(UnusableImageError, match="not a PNG, JPEG, DICOM or FRAMED but TIFF"):
        readers.reader_of(b"II*\x00")


def test_the_readers_are_in_the_cache_key() -> None:
    """The node's digest of code: `pipeline/dag/data.py` gives it both modules."""
    package = "components.radiograph_example_gen"
    code = closure(f"{package}.driver", f"{package}.executor")
    modules = {path.stem for path in Path(*readers.__path__).glob("*.py")} - {"__init__"}
    assert "png" in modules
    assert code >= {readers.__name__, *(f"{readers.__name__}.{name}" for name in modules)}


def _as_jpegs(folder: Path) -> None:
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), "JPEG", quality=95)
        path.unlink()


def test_jpegs_beside_pngs_become_pngs_and_what_made_them_is_told(
    tree: Any, run_executor: Callable[..., Any]
) -> None:
    _as_jpegs(tree.root / "Normal")
    (tree.root / "Normal" / "0.jpg").rename(tree.root / "Normal" / "0.png")
    (tree.root / "Normal" / "cut.jpg").write_bytes((tree.root / "Normal/1.jpg").read_bytes()[:-99])
    run = run_executor(tree.root, limits={"max_bad_fraction": 0.5})
    (bad,) = read_left_out(run.manifest.uri)
    assert (bad.path, bad.kind) == ("Normal/cut.jpg", Kind.BAD)
    assert "truncated" in bad.reason
    assert read_summary(run.manifest.uri)["conversions"] == {jpeg.version(): 8}
    features = _features(run)
    assert len(features) == 24
    for path in (f"Normal/{name}" for name in ("0.png", *(f"{n}.jpg" for n in range(1, 8)))):
        content = (tree.root / path).read_bytes()
        assert features[path][contract.IMAGE].bytes_list.value == [jpeg.to_png(content)]
        assert features[path][contract.WIDTH].int64_list.value == [40]
        assert features[path][contract.BYTES].int64_list.value == [len(content)]
    png = (tree.root / "COVID-19" / "0.png").read_bytes()
    assert features["COVID-19/0.png"][contract.IMAGE].bytes_list.value == [png]


def test_another_decoder_makes_another_fingerprint_and_pngs_have_none(
    tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest() -> str:
        found = discover(tree.root, [ClassFolders("Normal", ("Normal",))])
        return fingerprint_folder(str(tree.root), found, None)

    of_pngs = digest()
    monkeypatch.setattr(readers.jpeg, "conversion", lambda: "another")
    assert digest() == of_pngs
    _as_jpegs(tree.root / "Normal")
    of_jpegs = digest()
    monkeypatch.setattr(readers.jpeg, "conversion", lambda: "a third")
    assert len({of_pngs, of_jpegs, digest()}) == 3
