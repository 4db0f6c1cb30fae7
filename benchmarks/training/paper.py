"""The paper's recipe for two epochs, each with its seconds.

It runs as `cxr run --preset paper` does, but for the number of epochs. The benchmark runs it
in a process of its own for each backbone: `python -m benchmarks.training.paper`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.training.store import write_json
from common.runtime import logs_to, prepare_environment

# Two, since the first one holds the tracing.
EPOCHS: Final = 2


@contextlib.contextmanager
def clocked_fits() -> Iterator[list[list[float]]]:
    """Time every epoch of every `fit` in this process.

    Yields:
        A list that grows: of each `fit`, its epochs' seconds, validation included.
    """
    import keras

    fits: list[list[float]] = []
    original = keras.Model.fit

    class Clock(keras.callbacks.Callback):
        """Writes down how long each epoch took."""

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            """Start the clock."""
            self._started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            """Read the clock; Keras has validated by then."""
            fits[-1].append(time.perf_counter() - self._started)

    def clocked(
        model: keras.Model, *args: Any, callbacks: list[Any] | None = None, **options: Any
    ) -> Any:
        fits.append([])
        return original(model, *args, callbacks=[*(callbacks or []), Clock()], **options)

    # The training code takes no callbacks from outside, and needs none but here.
    keras.Model.fit = clocked
    try:
        yield fits
    finally:
        keras.Model.fit = original


def measure(
    backbone: str,
    data: Path,
    output: Path,
    weights_dir: Path | None,
    random_weights: bool,
    seed: int,
) -> dict[str, Any]:
    """Run the pipeline with the preset `paper`, for two epochs.

    Args:
        backbone: its name in the table.
        data: folder of images, as `cxr run` takes it.
        output: as of `cxr run`.
        weights_dir: as of `cxr run`.
        random_weights: go on where no weights are found.
        seed: of the split and the training.

    Returns:
        `epochs`: seconds of each; `nodes`: node -> seconds.
    """
    from pipeline.config.pipeline_config import load_config
    from pipeline.local.console import Console
    from pipeline.local_runner import run

    overrides: dict[str, Any] = {
        "data": {"dir": data},
        "output": output,
        "backbones": [backbone],
        "allow_random_weights": random_weights,
        "seed": seed,
        # In the paper's precision, whatever is faster here.
        "training_overrides": {backbone: {"epochs": EPOCHS, "precision": "float32"}},
        # After two epochs it would refuse, and log why.
        "gate": {"min_accuracy": 0.0},
        # The recipe's epochs are wanted, and a cached model has none.
        "enable_cache": False,
    }
    if weights_dir is not None:
        overrides["weights_dir"] = weights_dir
    config = load_config(preset="paper", overrides=overrides)
    prepare_environment()
    with clocked_fits() as fits:
        summary = run(config, Console())
    assert summary is not None
    # Heads on pooled vectors are fitted, too; the whole network takes longest.
    epochs = max(fits, key=max)
    return {"epochs": epochs, "nodes": summary["seconds"]}


def main(
    data: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    result: Annotated[Path, typer.Option(help="JSON file to write.")],
    backbone: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    weights_dir: Annotated[Path | None, typer.Option()] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights")] = False,
) -> None:
    """Time two epochs of one backbone and write them down."""
    with logs_to(output / "logs" / "run.log", verbose=False):
        measured = measure(backbone, data, output, weights_dir, random_weights, seed)
    write_json(result, measured)


if __name__ == "__main__":
    typer.run(main)
