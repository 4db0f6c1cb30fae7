"""A whole node: from C-STORE to C-STORE, through kills, with a stand-in for the model."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
import yaml
from pydicom.uid import SecondaryCaptureImageStorage

from common.errors import InputError
from serving.dicom_node import answering, queue_file
from serving.dicom_node.answering import Answerer, Model, NoResultError, results_for
from serving.dicom_node.disk_queue import DiskQueue
from serving.dicom_node.node import Node
from serving.dicom_node.settings import NodeSettings
from serving.dicom_results import files as result_files
from serving.prediction import Result
from tests.command_line import cxr
from tests.pipeline.deidentify.radiographs import another, radiograph, save
from tests.serving.dicom_node import stand_in
from tests.serving.dicom_node.peers import HERE, Peer, association, node_settings, queue_of

pytestmark = pytest.mark.waits


@contextlib.contextmanager
def running(settings: NodeSettings, load: Callable[[], Model] = stand_in.model) -> Iterator[Node]:
    node = Node(settings, load)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        yield node
    finally:
        node.stop()
        thread.join(60)
        assert not thread.is_alive()


def await_(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for in vain"
        time.sleep(0.02)


def to(port: int, **changes: Any) -> dict[str, Any]:
    return {"peers": {"pacs": {"ae_title": "PACS", "host": HERE, "port": port}}} | changes


def test_images_come_and_results_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cxr")
    with Peer() as pacs:
        settings = node_settings(tmp_path, **to(pacs.port))
        images = [another(number) for number in range(3)]
        lateral = another(9, ViewPosition="LL")
        with running(settings) as node, association(node.port or 0) as sender:
            for image in [*images, lateral, *images]:
                assert sender.send_c_store(image).Status == 0
            await_(lambda: queue_file.counts(settings.queue)["done"] == 3)
            await_(lambda: queue_file.counts(settings.queue)["failed"] == 1)
        assert [one.Modality for one in pacs.got] == ["SR", "OT"] * 3
        referred = [
            one.SourceImageSequence[0].ReferencedSOPInstanceUID
            for one in pacs.got
            if one.Modality == "OT"
        ]
        assert referred == [image.SOPInstanceUID for image in images]
        assert {one.StudyInstanceUID for one in pacs.got} == {images[0].StudyInstanceUID}
    (failed,) = queue_file.failures(settings.queue)
    assert failed.uid == lateral.SOPInstanceUID and "lateral" in failed.why
    assert failed.sender == "PACS"
    assert not [word for word in ("Mueller", "Hannelore", "PAT-4711") if word in caplog.text]
    assert list((settings.queue / "images").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"StudyInstanceUID": None}, "has no StudyInstanceUID"),
        ({"Manufacturer": "cxr-tfx"}, "is a result of this program"),
        ({"NumberOfFrames": "2"}, "frames"),
        ({"ViewPosition": "LL"}, "lateral"),
    ],
)
def test_what_has_no_result_says_why(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    image = radiograph(**changes)
    file = save(image, tmp_path / "image.dcm")
    with pytest.raises(NoResultError, match=why):
        results_for(str(image.SOPInstanceUID), file, stand_in.model())


def test_an_image_under_another_uid_has_no_result(tmp_path: Path) -> None:
    file = save(radiograph(), tmp_path / "image.dcm")
    with pytest.raises(NoResultError, match="another SOP Instance UID"):
        results_for("1.2.3", file, stand_in.model())


def test_what_is_no_dicom_has_no_result(tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    file.write_bytes(bytes(128) + b"DICM" + b"Mueller" * 40)
    with pytest.raises(NoResultError) as error:
        results_for("1.2.3", file, stand_in.model())
    assert "Mueller" not in str(error.value)


def test_an_error_of_the_header_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("Mueller^Hannelore is no date")

    monkeypatch.setattr(result_files, "make_report", broken)
    image = radiograph()
    with pytest.raises(NoResultError, match="allows no report: ValueError in broken") as error:
        results_for(
            str(image.SOPInstanceUID), save(image, tmp_path / "image.dcm"), stand_in.model()
        )
    assert "Mueller" not in str(error.value)


def test_the_same_image_has_the_same_results(tmp_path: Path) -> None:
    image = radiograph()
    file = save(image, tmp_path / "image.dcm")
    uid = str(image.SOPInstanceUID)
    assert results_for(uid, file, stand_in.model()) == results_for(uid, file, stand_in.model())


class _Failing:
    """A model that fails so many times, and then answers."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.asked = 0

    def __call__(self, files: Sequence[Path]) -> list[Result]:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise MemoryError("of Mueller")
        return stand_in.answers(files)


def _answered(
    tmp_path: Path, failing: _Failing, monkeypatch: pytest.MonkeyPatch
) -> tuple[DiskQueue, NodeSettings]:
    monkeypatch.setattr(answering, "_WAIT_S", 0.01)
    settings = node_settings(tmp_path)
    queue = queue_of(settings)
    image = radiograph()
    queue.add(str(image.SOPInstanceUID), save(image, tmp_path / "i").read_bytes(), "PACS")
    stop = threading.Event()
    answerer = Answerer(queue, stand_in.model(failing), settings.limits.tries)
    thread = threading.Thread(target=answerer.run, args=[stop])
    thread.start()
    await_(lambda: queue.counts()["waiting"] == 0)
    stop.set()
    thread.join()
    return queue, settings


def test_a_model_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, _ = _answered(tmp_path, _Failing(2), monkeypatch)
    assert queue.counts()["answered"] == 1


def test_an_image_is_tried_as_often_as_the_limit_and_not_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = _Failing(10**6)
    queue, settings = _answered(tmp_path, failing, monkeypatch)
    assert queue.counts()["failed"] == 1
    assert failing.asked == settings.limits.tries
    (failed,) = queue_file.failures(settings.queue)
    assert failed.why == "no answer after 5 tries"


def test_a_part_that_breaks_ends_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(DiskQueue, "unsent", broken)
    node = Node(node_settings(tmp_path), stand_in.model)
    with pytest.raises(RuntimeError, match="the node's sender broke"):
        node.run()


def test_a_node_whose_model_is_missing_lets_go_of_its_queue(tmp_path: Path) -> None:
    def missing() -> Model:
        raise InputError("no pushed model")

    settings = node_settings(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match="no pushed model"):
            Node(settings, missing)


class Process:
    """A node in a process of its own."""

    def __init__(self, config: Path) -> None:
        root = Path(__file__).parents[3]
        port_file = config.with_name("port")
        port_file.unlink(missing_ok=True)
        self.log = config.with_name("node.log")
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, stand_in.__file__ or "", str(config), str(port_file)],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(root)},
                stdout=sink,
                stderr=sink,
            )
        await_(lambda: port_file.exists() or self.process.poll() is not None)
        assert port_file.exists(), self.log.read_text()
        self.port = int(port_file.read_text().replace("None", "0"))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def write_config(folder: Path, **given: Any) -> Path:
    config = folder / "node.yaml"
    config.write_text(yaml.safe_dump({"queue": "queue"} | given))
    return config


@pytest.mark.slow
@pytest.mark.long
def test_nothing_is_lost_or_doubled_through_sigkill(tmp_path: Path) -> None:
    with Peer() as pacs:
        config = write_config(
            tmp_path,
            peers={"pacs": {"ae_title": "PACS", "host": HERE, "port": pacs.port}},
            receive={"port": 0},
            answer={"peer": "pacs", "first_wait_s": 0.1, "longest_wait_s": 0.2},
        )
        images = [another(number) for number in range(8)]
        acknowledged = 0
        for begun in (0, 4):
            node = Process(config)
            with association(node.port) as sender:
                for image in images[begun : begun + 4]:
                    assert sender.send_c_store(image).Status == 0
                    acknowledged += 1
                # Killed while it answers and sends, sooner or later.
                await_(lambda: _answered_in(tmp_path / "queue") >= begun + 2)  # noqa: B023
                node.end(signal.SIGKILL)
        node = Process(config)
        await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(images))
        assert node.end(signal.SIGTERM) == 0
        said = node.log.read_text()
        assert "stopped; in the queue" in said
        assert not [word for word in ("Mueller", "Hannelore", "PAT-4711") if word in said]
        # What came twice was the same.
        contents: dict[str, str] = {}
        for one in pacs.got:
            assert contents.setdefault(str(one.SOPInstanceUID), one.to_json()) == one.to_json()
        assert len(contents) == 2 * len(images)


def _answered_in(queue: Path) -> int:
    counts = queue_file.counts(queue)
    return counts["answered"] + counts["done"]


def test_the_command_lists_counts_and_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(
        tmp_path,
        peers={"pacs": {"ae_title": "PACS", "host": HERE, "port": 104}},
        receive={},
        answer={"peer": "pacs"},
    )
    words = ("dicom-node", "--config", config)
    assert cxr(monkeypatch, *words, "--status") == 2
    assert "holds no queue" in capsys.readouterr().err
    queue = DiskQueue(tmp_path / "queue", max_instances=9, max_bytes=999)
    for uid in ("1.2", "1.3"):
        queue.add(uid, b"x", "PACS")
        queue.begin_answer()
    queue.fail("1.2", "lateral")
    queue.answer("1.3", {"2.25.1": b"result"})
    queue.fail("1.3", "0xC000")
    assert cxr(monkeypatch, *words, "--status") == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 2
    assert cxr(monkeypatch, *words, "--list-failures") == 0
    shown = capsys.readouterr().out
    assert "1.2  from PACS: lateral\n" in shown
    assert "1.3  from PACS: 0xC000 (results kept: --retry-failures)\n" in shown
    assert "2 failed" in shown
    assert cxr(monkeypatch, *words, "--retry-failures") == 0
    assert "1 will be sent again" in capsys.readouterr().out
    assert len(queue.unsent(9)) == 1
    assert cxr(monkeypatch, *words, "--status", "--list-failures") == 2


def test_results_that_come_back_are_not_classified(tmp_path: Path) -> None:
    """A PACS that forwards all it gets would go round in circles with the node."""
    with Peer() as pacs:
        settings = node_settings(tmp_path, **to(pacs.port))
        with running(settings) as node, association(node.port or 0) as sender:
            assert sender.send_c_store(another(1)).Status == 0
            await_(lambda: len(pacs.got) == 2)
        heat = next(one for one in pacs.got if one.SOPClassUID == SecondaryCaptureImageStorage)
        file = tmp_path / "heat.dcm"
        pydicom.dcmwrite(file, heat, enforce_file_format=True)
        with pytest.raises(NoResultError):
            results_for(str(heat.SOPInstanceUID), file, stand_in.model())
