"""The command with a pushed model: the same objects as `cxr predict --dicom-out`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.watch.log_rows import read_rows
from serving.dicom_node import queue_file
from serving.process import free_port
from tests.golden_run import GoldenRun
from tests.pipeline.deidentify.radiographs import another, radiograph, save
from tests.serving.dicom_node.peers import HERE, Peer, association
from tests.serving.dicom_node.test_node import await_, write_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def cxr(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]


def test_the_node_gives_what_predict_writes(tmp_path: Path, golden: GoldenRun) -> None:
    serving = golden.layout.serving
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CXR_NETWORK_CACHE": ""}
    images = [another(1), another(2)]
    for number, image in enumerate(images):
        save(image, tmp_path / "images" / f"{number}.dcm")
    out = tmp_path / "out"
    words = cxr("predict", tmp_path / "images", "--model-dir", serving, "--dicom-out", out)
    subprocess.run(words, check=True, env=environment, cwd=tmp_path, timeout=300)
    written = {file.stem for file in out.iterdir()}
    port = free_port()
    with Peer() as pacs:
        config = write_config(
            tmp_path,
            model_dir=str(serving),
            peers={"pacs": {"ae_title": "PACS", "host": HERE, "port": pacs.port}},
            receive={"port": port},
            answer={"peer": "pacs"},
            prediction_log={"dir": "log"},
        )
        log = tmp_path / "node.log"
        with log.open("wb") as sink:
            node = subprocess.Popen(
                cxr("dicom-node", "--config", config),
                env=environment,
                cwd=tmp_path,
                stderr=sink,
                stdout=sink,
            )
        try:
            await_(lambda: node.poll() is not None or "listening" in log.read_text(), 120)
            with association(port) as sender:
                for image in [*images, radiograph(ViewPosition="LL")]:
                    assert sender.send_c_store(image).Status == 0, log.read_text()
            await_(lambda: queue_file.counts(tmp_path / "queue")["done"] == len(images), 120)
            await_(lambda: queue_file.counts(tmp_path / "queue")["failed"] == 1)
        finally:
            node.send_signal(signal.SIGTERM)
            assert node.wait(60) == 0, log.read_text()
        assert {str(one.SOPInstanceUID) for one in pacs.got} == written
        assert len(written) == 2 * len(images)
    rows = read_rows(tmp_path / "log").rows
    # The lateral view has no answer.
    assert len(rows) == len(images)
    assert {row.model for row in rows} == {"champion"}
    assert all(row.domain_reason for row in rows)
    # Sizes and grey levels are those of the image that the model saw.
    assert all(row.numbers["image/width"] > 0 and "image/mean" in row.numbers for row in rows)
    said = log.read_text()
    assert not [word for word in ("Mueller", "Hannelore", "PAT-4711") if word in said]
