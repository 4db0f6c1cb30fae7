"""What a node will write is compared with the room on the disk before it starts."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.radiograph_example_gen.listing import Listing, list_folder
from components.radiograph_example_gen.settings import Settings
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.local.progress import NodeClock
from pipeline.local.room import NoRoomError, Room
from pipeline.phantoms import write_phantoms
from schema import contract

_Usage = namedtuple("_Usage", "total used free")
MEGABYTE = 10**6


def _config(data: Path, **fields: Any) -> PipelineConfig:
    return load_config(overrides={"data": {"dir": data}, **fields})


def _room(tmp_path: Path, **fields: Any) -> Room:
    for folder in ("COVID", "Normal", "Viral Pneumonia"):
        (tmp_path / "data" / folder / "masks").mkdir(parents=True)
        (tmp_path / "data" / folder / "1.png").write_bytes(b"x" * 3 * MEGABYTE)
        (tmp_path / "data" / folder / "masks" / "1.png").write_bytes(b"x" * 3 * MEGABYTE)
    return Room(tmp_path, _config(tmp_path / "data", **fields))


def test_what_nodes_write(tmp_path: Path) -> None:
    room = _room(tmp_path)
    expected = room.expected_bytes
    assert expected("RadiographExampleGen") == 10 * MEGABYTE
    assert expected("Transform") == MEGABYTE + 3 * 256 * 256
    # Four bytes a parameter; the published sizes of the files are 59, 84 and 29 MB.
    assert expected("Trainer.vgg16") // MEGABYTE == 59
    assert expected("Trainer.xception") // MEGABYTE == 84
    assert expected("Pusher.densenet121") // MEGABYTE == 29
    assert expected("Trainer.fusion") == expected("Combiner.ensemble")
    assert expected("Combiner.ensemble") // MEGABYTE == 59 + 83 + 28 + 1
    assert expected("Pusher.champion") == expected("Trainer.densenet121")
    assert expected("Evaluator.vgg16") == MEGABYTE


def test_the_data_folder_is_listed_once_for_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []

    def counted(settings: Settings) -> Listing:
        listed.append(Path(settings.data_dir))
        return list_folder(settings)

    monkeypatch.setattr("pipeline.local.room.list_folder", counted)
    room = _room(tmp_path)
    room.expected_bytes("Trainer.vgg16")
    assert listed == []
    room.expected_bytes("RadiographExampleGen")
    room.expected_bytes("Transform")
    assert listed == [tmp_path / "data"]


def test_weights_are_kept_twice(tmp_path: Path) -> None:
    room = _room(tmp_path)
    once = room.expected_bytes("Trainer.vgg16") - MEGABYTE
    assert room.expected_bytes("PretrainedBackbone.vgg16") == 2 * once + MEGABYTE


def test_too_little_room_is_said_before_the_node_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = _room(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, 59 * MEGABYTE))
    room.check("Evaluator.vgg16")
    with pytest.raises(NoRoomError, match=r"about 60 MB, and the disk of .* has 59 MB of room"):
        room.check("Trainer.vgg16")


class _Quiet:
    def warn(self, sentence: str) -> None: ...

    def node_started(self, node: str) -> None: ...

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None: ...

    def node_failed(self, node: str) -> None: ...

    def node_finished(self, node: str, seconds: float, how: str) -> None: ...


def test_only_a_node_that_the_cache_does_not_know_is_looked_at() -> None:
    asked: list[str] = []
    logger = logging.Logger("runner", logging.INFO)
    logger.addHandler(NodeClock(_Quiet(), asked.append))
    for node, message in (
        ("A", "A cached execution %d is used."),
        ("B", "Going to run a new execution %d"),
    ):
        logger.info("Component %s is running.", node)
        logger.info(message, 1)
        logger.info("Component %s is finished.", node)
    assert asked == ["B"]


def test_weights_in_memory_are_the_file_that_keras_reads(
    tiny_backbone: str, tmp_path: Path
) -> None:
    import numpy as np

    from models.backbones import build_network, get_backbone, load_weights
    from models.pretrained import weights_file

    network, other = (build_network(get_backbone(tiny_backbone)) for _ in range(2))
    path = tmp_path / "backbone.weights.h5"
    path.write_bytes(weights_file(network))
    load_weights(other, str(path))
    assert other.count_params() > 0
    for mine, its in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_full_disk_is_an_error_while_weights_are_written(
    tiny_backbone: str, tmp_path: Path
) -> None:
    import tensorflow as tf

    from models.pretrained import save_pretrained

    # Linux' device on which there is never any room.
    (tmp_path / contract.BACKBONE_WEIGHTS_FILE).symlink_to("/dev/full")
    with pytest.raises(tf.errors.OpError, match="No space left"):
        save_pretrained(tiny_backbone, str(tmp_path), seed=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or not mount:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False
    ).returncode:
        pytest.skip("this machine allows no mounts")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_on_a_small_disk_ends_in_a_sentence_and_goes_on_with_room(
    small_disk: Path, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "data", (10, 11, 12), size=64, seed=1)
    command = [sys.executable, "-m", "tests.miniatures", "run", "--data", str(tmp_path / "data")]
    command += ["--preset", "demo", "--backbones", "vgg16", "--min-accuracy", "0"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--output", small_disk / "output"],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )

    small = run()
    assert small.returncode == 1
    (sentence,) = small.stderr.splitlines()
    assert sentence.startswith(
        "cxr: PretrainedBackbone.vgg16 failed: it will write about 119 MB, and the disk of "
    )
    subprocess.run(["mount", "-o", "remount,size=800m", small_disk], check=True)
    large = run()
    assert large.returncode == 0, large.stderr
    assert "cached    CuratedSchemaGen" in large.stdout
