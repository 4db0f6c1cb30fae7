"""The command with a pushed model: the same objects as `cxr predict --dicom-out`."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from pipeline.watch.log_rows import read_rows
from schema import contract
from serving.dicom_node import command, queue_file
from serving.dicom_node.node import Node
from serving.local_client import latest_version
from serving.networks.places import PUSHED_NETWORKS
from tests.command_line import cxr
from tests.golden_run import GoldenRun
from tests.pipeline.deidentify.radiographs import another, radiograph, save
from tests.serving.dicom_node.peers import HERE, Peer, association
from tests.serving.dicom_node.test_node import await_, write_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]


def test_the_node_gives_what_predict_writes(
    tmp_path: Path, golden: GoldenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = tmp_path / "serving"
    version = latest_version(golden.layout.serving, "xception")
    shutil.copytree(version, serving / contract.CHAMPION / version.name)
    shutil.copytree(golden.layout.serving / PUSHED_NETWORKS, serving / PUSHED_NETWORKS)
    images = [another(1), another(2)]
    for number, image in enumerate(images):
        save(image, tmp_path / "images" / f"{number}.dcm")
    out = tmp_path / "out"
    words: tuple[str | Path, ...] = ("--model-dir", serving, "--dicom-out", out)
    assert cxr(monkeypatch, "predict", tmp_path / "images", *words) == 0
    written = {file.stem for file in out.iterdir()}
    nodes: list[Node] = []
    run = Node.run

    def noted(node: Node) -> None:
        nodes.append(node)
        run(node)

    monkeypatch.setattr(Node, "run", noted)
    # Else no later test of this process would see what other libraries log.
    monkeypatch.setattr(command, "quiet_logs", lambda: None)
    with Peer() as pacs:
        config = write_config(
            tmp_path,
            model_dir=str(serving),
            peers={"pacs": {"ae_title": "PACS", "host": HERE, "port": pacs.port}},
            receive={"port": 0},
            answer={"peer": "pacs"},
            prediction_log={"dir": "log"},
        )
        exits: list[int] = []
        thread = threading.Thread(
            target=lambda: exits.append(cxr(monkeypatch, "dicom-node", "--config", config))
        )
        thread.start()
        try:
            await_(lambda: nodes or not thread.is_alive())
            with association(nodes[0].port or 0) as sender:
                for image in [*images, radiograph(ViewPosition="LL")]:
                    assert sender.send_c_store(image).Status == 0
            await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(images))
            await_(lambda: queue_file.counts(tmp_path / "queue")["failed"] == 1)
        finally:
            for node in nodes:
                node.stop()
            thread.join(60)
        assert exits == [0]
        assert {str(one.SOPInstanceUID) for one in pacs.got} == written
        assert len(written) == 2 * len(images)
    rows = read_rows(tmp_path / "log").rows
    # The lateral view has no answer.
    assert len(rows) == len(images)
    assert {row.model for row in rows} == {"champion"}
    assert all(row.domain_reason for row in rows)
    # Sizes and grey levels are those of the image that the model saw.
    assert all(row.numbers["image/width"] > 0 and "image/mean" in row.numbers for row in rows)
