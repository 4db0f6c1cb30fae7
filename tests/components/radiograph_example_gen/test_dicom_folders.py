"""Folders of DICOM, alone and among PNGs: the same examples and the same split."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.radiograph_example_gen.discovery import Candidate, Kind
from components.radiograph_example_gen.inspection import inspect_file
from components.radiograph_example_gen.manifest import read_left_out, read_manifest, read_summary
from components.radiograph_example_gen.settings import Limits
from models.conversion import dicom
from models.conversion.stored_png import stored_png
from schema import contract
from tests.dicoms import LOSSLESS, LOSSY, dataset, encoded, phantom


@pytest.fixture
def pngs(tree: Any) -> Any:
    """The tree, with PNGs as the conversion writes them."""
    for path in tree.root.rglob("*.png"):
        path.write_bytes(stored_png(np.asarray(Image.open(path))))
    return tree


def _as_dicoms(root: Path, *, every: int = 1) -> None:
    """Turn every such file into DICOM, the syntaxes in turn, and every other one inverted."""
    paths = sorted(root.rglob("*.png"))[::every]
    for number, (path, syntax) in enumerate(zip(paths, cycle(LOSSLESS))):
        pixels = np.asarray(Image.open(path))
        inverted = number % 2
        photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
        found = dataset(255 - pixels if inverted else pixels, PhotometricInterpretation=photometric)
        path.with_suffix(".dcm").write_bytes(encoded(found, syntax))
        path.unlink()


def _split(run: Any) -> dict[str, str]:
    entries = read_manifest(run.manifest.uri)
    return {str(Path(entry.file).with_suffix("")): entry.split for entry in entries}


def _images(run: Any) -> dict[str, bytes]:
    files = [str(path) for path in Path(run.examples.uri).rglob("*.gz")]
    found = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
    features = [tf.train.Example.FromString(item).features.feature for item in found]
    return {
        str(Path(each[contract.PATH].bytes_list.value[0].decode()).with_suffix("")): each[
            contract.IMAGE
        ].bytes_list.value[0]
        for each in features
    }


@pytest.mark.parametrize("every", [1, 2])
def test_the_same_split_and_the_same_images_as_of_pngs(
    pngs: Any, run_executor: Callable[..., Any], every: int
) -> None:
    before = run_executor(pngs.root)
    _as_dicoms(pngs.root, every=every)
    after = run_executor(pngs.root, beam=every == 1)
    assert _split(after) == _split(before)
    assert _images(after) == _images(before)
    assert read_left_out(after.manifest.uri) == []
    summary = read_summary(after.manifest.uri)
    assert summary["digest"] == read_summary(before.manifest.uri)["digest"]
    assert summary["conversions"] == {dicom.version(): 24 // every}
    assert summary["rendering"] == {"dicom_window": 1, "dicom_percentile": 0.0}
    assert "rendering" not in read_summary(before.manifest.uri)


def test_a_dicom_and_its_png_are_one_image(pngs: Any, run_executor: Callable[..., Any]) -> None:
    pixels = np.asarray(Image.open(pngs.root / "Normal/3.png"))
    (pngs.root / "Normal/again.dcm").write_bytes(encoded(dataset(pixels), "RLE"))
    run = run_executor(pngs.root)
    (copy,) = read_left_out(run.manifest.uri)
    # The one with a header is kept: it says more.
    assert (copy.path, copy.kind) == ("Normal/3.png", Kind.DUPLICATE)
    assert copy.reason == "of the very same pixels as Normal/again.dcm"


def _inspected(folder: Path, content: bytes, **limits: Any) -> Any:
    (folder / "x.dcm").write_bytes(content)
    return inspect_file(str(folder), Candidate("x.dcm", "a"), Limits(**limits))


def test_a_dicom_that_is_called_a_png_is_left_out_since_nothing_hashes_its_patient(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.png").write_bytes(encoded(dataset(phantom(12), 12)))
    found = inspect_file(str(tmp_path), Candidate("x.png", "a"), Limits())
    assert found.reason.startswith("a DICOM that is called as another format")
    (tmp_path / "x.png").rename(tmp_path / "x")
    # A table may name it so.
    assert inspect_file(str(tmp_path), Candidate("x", "a"), Limits()).reason == ""


def test_the_configured_window_changes_the_image_and_not_what_it_is_known_by(
    tmp_path: Path,
) -> None:
    content = encoded(dataset(phantom(12), 12, WindowCenter=[900, 3000], WindowWidth=[500, 500]))
    first, second = (_inspected(tmp_path, content, dicom_window=n) for n in (1, 2))
    assert first.mean != second.mean
    assert first.sha256 == second.sha256 != first.file_digest
    plain = encoded(dataset(phantom(12), 12))
    whole, cut = (_inspected(tmp_path, plain, dicom_percentile=p) for p in (0, 5))
    assert whole.std < cut.std
    assert whole.sha256 == cut.sha256


@pytest.mark.parametrize("syntax", LOSSY)
def test_what_was_lost_depends_on_the_decoder(syntax: str, tmp_path: Path) -> None:
    found = _inspected(tmp_path, encoded(dataset(phantom(8)), syntax))
    assert (found.reason, found.file_sha256) == ("", "")


def test_sixteen_bits_are_the_headers_matter(tmp_path: Path) -> None:
    """BitsStored of a DICOM is known; `data.bits_stored` is for PNGs."""
    found = _inspected(tmp_path, encoded(dataset(phantom(16))), bits_stored=12)
    assert (found.reason, found.bit_depth, found.bits_stored) == ("", 16, 0)


def test_what_is_wrong_is_listed_with_its_reason(
    pngs: Any, run_executor: Callable[..., Any]
) -> None:
    folder = pngs.root / "Normal"
    bad = {
        "ct.dcm": encoded(dataset(phantom(8), Modality="CT")),
        "cut.dcm": encoded(dataset(phantom(8, (40, 40))))[:-500],
        "lateral.DICOM": encoded(dataset(phantom(8), ViewPosition="LL")),
        "text.dcm": b"hello",
        "tiny.dcm": encoded(dataset(phantom(8, (20, 40)))),
        "wide.dcm": encoded(dataset(phantom(8, (40, 60)))),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    run = run_executor(pngs.root, limits={"max_bad_fraction": 0.5, "max_pixels": 2000})
    assert [(item.path, item.kind, item.reason) for item in read_left_out(run.manifest.uri)] == [
        ("Normal/ct.dcm", Kind.BAD, "a DICOM of modality 'CT': no projection radiograph"),
        (
            "Normal/cut.dcm",
            Kind.BAD,
            "truncated: 1100 bytes of pixels, and 40×40 pixels of 8 bits take 1600",
        ),
        (
            "Normal/lateral.DICOM",
            Kind.BAD,
            "a DICOM of lateral (LL) view: only frontal radiographs are read",
        ),
        (
            "Normal/text.dcm",
            Kind.BAD,
            "not a PNG, JPEG or DICOM but another kind of file, whatever its name",
        ),
        ("Normal/tiny.dcm", Kind.BAD, "40×20 pixels: a side is below data.min_side = 32"),
        ("Normal/wide.dcm", Kind.BAD, "claims 60×40 pixels, more than data.max_pixels = 2000"),
    ]
    assert read_summary(run.manifest.uri)["images_found"]["Normal"] == 14


def test_a_file_larger_than_any_radiograph_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.dcm").open("wb") as file:
        file.truncate((1 << 30) + 1)
    reason = inspect_file(str(tmp_path), Candidate("x.dcm", "a"), Limits()).reason
    assert reason == "cannot be read: larger than 1024 MiB"
