"""What an inspection makes of images is written as records without making it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from components.radiograph_example_gen import converted as module
from components.radiograph_example_gen import executor, writing
from components.radiograph_example_gen.converted import ConvertedImages
from components.radiograph_example_gen.readers import dicom, jpeg, png
from tests.dicoms import dataset, encoded, phantom


@pytest.fixture
def mixed(tree: Any) -> Path:
    """24 images: half of them DICOMs of 12 bits, then JPEGs and unscaled PNGs of 12 bits."""
    paths = sorted(tree.root.rglob("*.png"))
    for seed, path in enumerate(paths):
        values = phantom(12, (40, 44), seed)
        if seed % 2:
            path.with_suffix(".dcm").write_bytes(encoded(dataset(values, 12)))
            path.unlink()
        elif seed % 4:
            Image.fromarray((values >> 4).astype(np.uint8)).save(path.with_suffix(".jpg"))
            path.unlink()
        else:
            Image.fromarray(values).save(path)
    return Path(tree.root)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files of which something was made, each time."""
    found: list[bytes] = []
    for reader in (dicom, jpeg, png):

        def noted(content: bytes, *rest: Any, make: Any = reader.for_example) -> bytes:
            found.append(content)
            return bytes(make(content, *rest))

        monkeypatch.setattr(reader, "for_example", noted)
    return found


LIMITS = {"bits_stored": 12}


def _files(run: Any) -> dict[str, bytes]:
    roots = [Path(run.examples.uri), Path(run.manifest.uri)]
    return {
        str(path.relative_to(root.parent)): path.read_bytes()
        for root in roots
        for path in root.rglob("*")
        if path.is_file()
    }


def _between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something when all images are inspected, and none is written."""
    planned = writing.plan_shards

    def after_acting(*args: Any) -> Any:
        act()
        return planned(*args)

    monkeypatch.setattr(executor, "plan_shards", after_acting)


def test_each_image_is_converted_once_and_the_records_are_the_same(
    mixed: Path,
    run_executor: Callable[..., Any],
    made: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = run_executor(mixed, limits=LIMITS)
    assert len(made) == 24
    monkeypatch.setattr(ConvertedImages, "below", lambda place: module.NOTHING_KEPT)
    twice = run_executor(mixed, limits=LIMITS)
    assert len(made) == 3 * 24
    assert _files(once) == _files(twice)


def test_workers_of_beam_find_what_others_made(
    mixed: Path, run_executor: Callable[..., Any]
) -> None:
    alone, under_beam = (run_executor(mixed, limits=LIMITS, beam=beam) for beam in (False, True))
    assert _files(alone) == _files(under_beam)


def test_what_is_kept_is_deleted_as_it_is_written_and_what_no_record_needs_before(
    mixed: Path, run_executor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    whole: list[int] = []
    below = ConvertedImages.below

    def noted(place: str) -> ConvertedImages:
        kept = below(place)
        folders.append(Path(kept.folder))
        return kept

    monkeypatch.setattr(ConvertedImages, "below", noted)
    # One more than the other classes have: one is inspected, and not drawn.
    (mixed / "Normal" / "more.dcm").write_bytes(encoded(dataset(phantom(12, seed=99), 12)))
    _between(monkeypatch, lambda: whole.append(len(list(folders[0].iterdir()))))
    left: list[int] = []
    written = executor.write_shard

    def counted(*args: Any) -> str:
        problem = written(*args)
        left.append(len(list(folders[0].iterdir())))
        return problem

    monkeypatch.setattr(executor, "write_shard", counted)
    run_executor(mixed, limits=LIMITS)
    # Counted before the shards of each split are planned; nothing is written meanwhile.
    assert whole == [24, 24, 24]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert not folders[0].exists()


def test_a_file_that_changed_in_between_is_noticed(
    mixed: Path, run_executor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = mixed / "Normal" / "1.dcm"
    content, before = path.read_bytes(), path.stat()

    def change() -> None:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        # As some programs do; when the entry changed can't be set back.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    _between(monkeypatch, change)
    with pytest.raises(InputError, match=r"Normal/1\.dcm was changed"):
        run_executor(mixed, limits=LIMITS)
    assert not list((tmp_path / "run1").rglob("converted-*"))


def test_a_file_that_is_gone_is_noticed(
    mixed: Path, run_executor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _between(monkeypatch, lambda: (mixed / "Normal" / "1.dcm").unlink(missing_ok=True))
    with pytest.raises(InputError, match=r"Normal/1\.dcm can no longer be read"):
        run_executor(mixed, limits=LIMITS)


def test_a_file_that_was_touched_is_looked_at_again(
    mixed: Path,
    run_executor: Callable[..., Any],
    made: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _files(run_executor(mixed, limits=LIMITS))
    made.clear()
    path = mixed / "Normal" / "1.dcm"
    _between(monkeypatch, lambda: os.utime(path, (1, 1)))
    assert _files(run_executor(mixed, limits=LIMITS)) == expected
    assert made.count(path.read_bytes()) == 2
    assert len(made) == 25


def _source(folder: Path) -> tuple[Path, os.stat_result]:
    path = folder / "source"
    path.write_bytes(b"source")
    return path, path.stat()


def test_what_there_is_no_room_for_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = _source(tmp_path)
    monkeypatch.setattr(module, "_free", lambda folder: 100)
    kept = ConvertedImages.below(str(tmp_path))
    kept.keep(bytes(51), "a", state)
    assert kept.find("a", path) is None
    kept.keep(bytes(50), "a", state)
    found = kept.find("a", path)
    assert found is not None
    assert found[1] == bytes(50)
    assert [*Path(kept.folder).iterdir()] == [found[0]]
    assert kept.find("b", path) is None


def test_nothing_is_kept_in_an_object_store(tmp_path: Path) -> None:
    path, state = _source(tmp_path)
    kept = ConvertedImages.below("gs://bucket/examples/_scratch")
    kept.keep(b"image", "a", state)
    kept.drop_others(())
    assert kept.find("a", path) is None


def test_a_machine_without_the_folder_converts_again(tmp_path: Path) -> None:
    path, state = _source(tmp_path)
    kept = ConvertedImages(str(tmp_path / "elsewhere"))
    kept.keep(b"image", "a", state)
    assert kept.find("a", path) is None


def test_a_disk_that_is_full_keeps_nothing_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = _source(tmp_path)
    kept = ConvertedImages.below(str(tmp_path))

    def full(file: Path, content: bytes) -> int:
        with file.open("wb") as begun:
            begun.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    kept.keep(b"image", "a", state)
    assert kept.find("a", path) is None
    assert list(Path(kept.folder).iterdir()) == []
