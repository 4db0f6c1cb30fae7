"""Case (a), in a process of its own: the SavedModel's signature, called in a loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from common.runtime import prepare_environment


def main(
    version: Annotated[Path, typer.Option(help="Folder of the SavedModel.")],
    images: Annotated[Path, typer.Option(help="JSON list of files to ask about.")],
    parity: Annotated[Path, typer.Option(help="JSON list of files whose answers are kept.")],
    result: Annotated[Path, typer.Option(help="To write.")],
    seconds: Annotated[float, typer.Option(help="To ask for.")],
) -> None:
    """Measure, and keep the answers."""
    prepare_environment()
    import tensorflow as tf

    from benchmarks.serving.load import in_a_loop, memory_mib

    signature = tf.saved_model.load(str(version)).signatures["serving_default"]

    def call(content: bytes) -> list[float]:
        outputs = signature(image_bytes=tf.constant([content]))
        return [float(p) for p in outputs["probabilities"].numpy()[0]]

    contents = [Path(file).read_bytes() for file in json.loads(images.read_text())]
    for content in contents[:3]:
        call(content)
    load = in_a_loop(call, contents, seconds)
    answers = {file: call(Path(file).read_bytes()) for file in json.loads(parity.read_text())}
    measured = {
        "seconds": load.seconds,
        "latencies": load.latencies,
        "memory": memory_mib(),
        "answers": answers,
    }
    result.write_text(json.dumps(measured))


if __name__ == "__main__":
    typer.run(main)
