"""A real PACS: Orthanc sends 200 images, the node is killed meanwhile, results land there once.

The model is a stand-in; what is tried is the way from the PACS to the PACS.
"""

from __future__ import annotations

import datetime
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from pipeline.phantoms import write_phantoms
from serving.dicom_node import queue_file
from serving.dicom_node.answering import results_for
from serving.process import free_port
from tests.pipeline.deidentify.radiographs import radiograph, save
from tests.serving.dicom_node import stand_in
from tests.serving.dicom_node.orthanc import Orthanc, running_orthanc
from tests.serving.dicom_node.peers import HERE
from tests.serving.dicom_node.test_node import Process, await_, write_config

pytestmark = pytest.mark.long
SIZE = 128


def phantoms(folder: Path, per_class: list[int]) -> list[Path]:
    """Phantoms as DICOM, each in a study of its own."""
    drawn = write_phantoms(folder / "png", per_class, size=SIZE, seed=3)
    files = []
    for number, png in enumerate(sorted(drawn.rglob("*.png"))):
        pixels = np.asarray(Image.open(png).convert("L"), np.uint16) << 4
        uids = [generate_uid(entropy_srcs=[kind, str(number)]) for kind in "ids"]
        made: Dataset = radiograph(
            SOPInstanceUID=uids[0],
            SeriesInstanceUID=uids[1],
            StudyInstanceUID=uids[2],
            PatientID=f"P{number}",
            Rows=SIZE,
            Columns=SIZE,
        )
        made.add_new("PixelData", "OW", pixels.tobytes())
        files.append(save(made, folder / "dicom" / f"{number}.dcm"))
    return files


class Killed:
    """A node that is killed again and again, and started again at once."""

    def __init__(self, config: Path, times: int) -> None:
        self.config, self.times = config, times
        self.node = Process(config)
        self.enough = threading.Event()
        self.kills = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        waits = random.Random(7)
        while self.kills < self.times and not self.enough.wait(waits.uniform(0.5, 4.0)):
            self.node.end(signal.SIGKILL)
            self.kills += 1
            self.node = Process(self.config)

    def __enter__(self) -> Killed:
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        self.thread.join()
        if self.node.process.poll() is None:
            assert self.node.end(signal.SIGTERM) == 0


def expected_of(files: list[Path]) -> set[str]:
    """UIDs of all results, asked of the same model in this process."""
    model = stand_in.model()
    uids: set[str] = set()
    for file in files:
        uid = str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
        uids |= set(results_for(uid, file, model))
    return uids


def held_by(orthanc: Orthanc) -> list[str]:
    return [one["MainDicomTags"]["SOPInstanceUID"] for one in orthanc.get("/instances?expand")]


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path) as made:
        yield made


def require_exactly_once(orthanc: Orthanc, files: list[Path], queue: Path) -> None:
    held = held_by(orthanc)
    assert len(held) == len(set(held)) == 3 * len(files)
    sent = {str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in files}
    assert set(held) - sent == expected_of(files)
    # In the studies of the images, as a series each.
    assert orthanc.get("/statistics")["CountStudies"] == len(files)
    kinds = [one["MainDicomTags"]["Modality"] for one in orthanc.get("/series?expand")]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict.fromkeys(
        ("DX", "SR", "OT"), len(files)
    )
    counts = queue_file.counts(queue)
    assert counts == {
        "waiting": 0, "answered": 0, "failed": 0, "held": 0, "held_bytes": 0, "done": len(files),
    }  # fmt: skip


def test_200_images_by_c_store_through_kills(tmp_path: Path, orthanc: Orthanc) -> None:
    files = phantoms(tmp_path, [70, 70, 60])
    ids = [orthanc.post("/instances", file.read_bytes())["ID"] for file in files]
    port = free_port()
    orthanc.put("/modalities/node", {"AET": "CXR", "Host": HERE, "Port": port})
    peer = {"ae_title": "ORTHANC", "host": HERE, "port": orthanc.dicom_port}
    config = write_config(
        tmp_path,
        peers={"orthanc": peer},
        receive={"port": port},
        answer={"peer": "orthanc", "first_wait_s": 0.2, "longest_wait_s": 1},
    )
    refused = 0
    with Killed(config, 8) as killed:
        for start in range(0, len(ids), 10):
            # As a PACS does: what wasn't acknowledged is sent again, with what was.
            while True:
                try:
                    orthanc.post("/modalities/node/store", ids[start : start + 10])
                    break
                except requests.RequestException:
                    refused += 1
                    assert refused < 1000
                    # A sender's wait, and not the test's for something.
                    time.sleep(0.3)
        await_(lambda: killed.kills == 8, 120)
        await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(files), 240)
    print(f"{killed.kills} kills; {refused} stores of 10 images were cut off and sent again")
    require_exactly_once(orthanc, files, tmp_path / "queue")
    # All of it sent again changes nothing.
    node = Process(config)
    orthanc.post("/modalities/node/store", ids)
    assert node.end(signal.SIGTERM) == 0
    require_exactly_once(orthanc, files, tmp_path / "queue")
    assert "Mueller" not in node.log.read_text()


def test_images_by_dicomweb_through_kills(tmp_path: Path, orthanc: Orthanc) -> None:
    files = phantoms(tmp_path, [20, 20, 20])
    url = f"{orthanc.url}/dicom-web"
    given: dict[str, Any] = {
        "poll": {"url": url, "since": datetime.date(2024, 1, 1), "every_s": 0.5},
        "answer": {"web": {"url": url}, "first_wait_s": 0.2, "longest_wait_s": 1},
    }
    config = write_config(tmp_path, **given)
    with Killed(config, 4) as killed:
        for file in files:
            orthanc.post("/instances", file.read_bytes())
        await_(lambda: killed.kills == 4, 120)
        await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(files), 240)
    require_exactly_once(orthanc, files, tmp_path / "queue")


def test_images_are_pushed_by_dicomweb_through_kills(tmp_path: Path, orthanc: Orthanc) -> None:
    """Orthanc's own STOW-RS client, which its rules (Lua, Python) call when a study is stable."""
    files = phantoms(tmp_path, [20, 20, 20])
    ids = [orthanc.post("/instances", file.read_bytes())["ID"] for file in files]
    port = free_port()
    config = write_config(
        tmp_path,
        peers={"orthanc": {"ae_title": "ORTHANC", "host": HERE}},
        stow={"port": port},
        answer={
            "web": {"url": f"{orthanc.url}/dicom-web"},
            "first_wait_s": 0.2,
            "longest_wait_s": 1,
        },
    )
    orthanc.put("/dicom-web/servers/node", {"Url": f"http://{HERE}:{port}/"})
    with Killed(config, 4) as killed:
        send_by_stow(orthanc, ids)
        await_(lambda: killed.kills == 4, 120)
        await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(files), 240)
    require_exactly_once(orthanc, files, tmp_path / "queue")


def send_by_stow(orthanc: Orthanc, ids: list[str]) -> None:
    """As a rule of Orthanc's does: what wasn't acknowledged is sent again."""
    for start in range(0, len(ids), 5):
        for _ in range(1000):
            try:
                asked = {"Resources": ids[start : start + 5], "Synchronous": True}
                orthanc.post("/dicom-web/servers/node/stow", asked)
                break
            except requests.RequestException:
                # A sender's wait, and not the test's for something.
                time.sleep(0.3)
        else:
            pytest.fail("Orthanc's images aren't taken")
