"""A model for tests: what it says follows from the file, and it can be told to fail."""

from __future__ import annotations

import datetime
import hashlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.conversion import prepared
from serving.dicom_node.answering import Model
from serving.dicom_node.settings import read_settings
from serving.dicom_results.identity import Algorithm
from serving.prediction import Failure, Prediction, Result


def answers(files: Sequence[Path]) -> list[Result]:
    """Convert as the real one does; the digest of the pixels stands for the networks."""
    return [_answer(file) for file in files]


def _answer(file: Path) -> Result:
    try:
        pixels = prepared(file.read_bytes(), 0)
    except ValueError as error:
        return Failure(file, str(error))
    share = hashlib.sha256(pixels).digest()[0] / 255
    heat = np.full((256, 256), share, np.float32)
    return Prediction(file, "NORMAL", {"NORMAL": share, "COVID-19": 1 - share}, heat_map=heat)


def _draw(content: bytes, heat: np.ndarray) -> Image.Image:
    return Image.fromarray((heat[:64, :64] * 255).astype(np.uint8)).convert("RGB")


def model(answer: Callable[[Sequence[Path]], list[Result]] = answers) -> Model:
    pushed = datetime.datetime(2026, 11, 29, 4, 30, tzinfo=datetime.timezone.utc)
    return Model(Algorithm("champion", "1795926600", "ab" * 32, pushed), answer, _draw)


def main() -> None:
    """Run a node of its own process: `python stand_in.py CONFIG PORT_FILE`."""
    from serving.dicom_node.command import quiet_logs
    from serving.dicom_node.node import Node

    quiet_logs()
    node = Node(read_settings(Path(sys.argv[1])), model)
    written = Path(sys.argv[2])
    written.with_suffix(".new").write_text(str(node.port))
    written.with_suffix(".new").replace(written)
    # Whoever starts it may have ignored it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    node.run()


if __name__ == "__main__":
    main()
