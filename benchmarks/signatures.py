"""A TFMA job with and without remembered signatures, in turns (`make bench-signatures`).

The job is what Evaluator asks TFMA for, on made answers to 40 images. It is measured in CPU
seconds, since the machine may do other things meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from common.runtime import prepare_environment, quick_tfx_import

prepare_environment()
_IMAGES = 40
_WRONG_EVERY = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Print the CPU seconds of either, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(argv).repeats
    with quick_tfx_import():
        from apache_beam.transforms import core

    remembering = core.get_function_args_defaults
    ways = {"as Beam does": remembering.__wrapped__, "remembered": remembering}
    seconds = measure(ways, core, _job(), repeats)
    for name, values in seconds.items():
        print(f"{name:<14} min {min(values):.2f}  median {statistics.median(values):.2f} CPU s")
    plain, quick = (statistics.median(seconds[name]) for name in ways)
    print(f"ratio of the medians: {plain / quick:.2f}")


def measure(
    ways: dict[str, Callable[..., Any]], core: Any, job: Callable[[], None], repeats: int
) -> dict[str, list[float]]:
    """Run the job in turns with each function in Beam's place.

    Args:
        ways: name -> Beam's `get_function_args_defaults`.
        core: the module that has it.
        job: is run once before anything is measured.
        repeats: of each.

    Returns:
        Name -> CPU seconds, in the order of the runs.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    before = core.get_function_args_defaults
    try:
        job()
        for _ in range(repeats):
            for name, function in ways.items():
                core.get_function_args_defaults = function
                started = time.process_time()
                job()
                found[name].append(time.process_time() - started)
    finally:
        core.get_function_args_defaults = before
    return found


def _job() -> Callable[[], None]:
    import pandas as pd
    import tensorflow_model_analysis as tfma

    from components.evaluator.eval_config import eval_config
    from schema import contract

    config = eval_config(n_classes=2, min_accuracy=0.0, against_baseline=False)
    texts = {feature: "x" for feature in contract.SLICE_FEATURES}
    rows = [
        {
            contract.LABEL: 0,
            contract.ANSWER: [0.8, 0.2] if number % _WRONG_EVERY else [0.2, 0.8],
            contract.SHA256: str(number).encode(),
            **texts,
        }
        for number in range(_IMAGES)
    ]

    def job() -> None:
        with tempfile.TemporaryDirectory() as folder:
            tfma.analyze_raw_data(pd.DataFrame(rows), config, output_path=folder)

    return job


if __name__ == "__main__":
    main()
