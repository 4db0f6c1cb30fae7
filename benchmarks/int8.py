"""Int8 beside bf16 and f32, on a run's own images (`make bench-int8`).

The networks alone, several images in flight: bf16 and f32 as they are, `served` as `cxr serve` does
it without int8, and int8 with what is unsure asked again. What int8 is unsure of is learnt from the
validation images, as at a push; the test images show whether it holds for others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from common.runtime import prepare_environment, quick_tfx_import

prepare_environment()

from models.engines import OPENVINO_BF16, OPENVINO_F32  # noqa: E402
from models.openvino_runtime import cpu_name, low_precision  # noqa: E402
from schema import contract  # noqa: E402
from serving.local_client import latest_version  # noqa: E402
from serving.networks.int8_judging import best_seconds, judge, verdict  # noqa: E402
from serving.networks.int8_serving import QuantisedTrunks, int8_network  # noqa: E402
from serving.networks.plan import network_of  # noqa: E402
from serving.networks.quantisation import choose_calibration, quantise_trunks  # noqa: E402
from serving.networks.store import Store  # noqa: E402
from serving.networks.versions import Networks  # noqa: E402

_TIMED_IMAGES: Final = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line on each model's speed, and one on each split's answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="OUTPUT of a run")
    parser.add_argument("--models", default="vgg16,xception,densenet121")
    parser.add_argument("--splits", default="eval,test", help="on which answers are compared")
    parser.add_argument("--store", type=Path, help="of networks from an earlier call, if any")
    args = parser.parse_args(argv)
    with quick_tfx_import():
        from components.serving_precision.executor import read_images

        folders = (args.output / "artifacts/Transform/transformed_examples").iterdir()
        latest = max(folders, key=lambda path: int(path.name))
        images = {split: read_images(str(latest / f"Split-{split}")) for split in contract.SPLITS}
    print(f"{cpu_name()} ({', '.join(low_precision())})")
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            version = latest_version(args.output / "serving", name)
            store = Store(args.store or Path(scratch))
            for line in compare(version, images, store, args.splits.split(",")):
                print(f"{name:<12} {line}", flush=True)


def compare(
    folder: Path, images: dict[str, list[np.ndarray]], store: Store, splits: Sequence[str]
) -> Iterator[str]:
    """Write the lines on one model.

    Args:
        folder: of its version.
        images: split -> its images, as the networks get them.
        store: of networks.
        splits: on which answers are compared; what int8 is unsure of is learnt from the first.

    Yields:
        A line as soon as it is known.
    """
    networks = Networks(store)
    version = networks.load(folder, "auto")
    calibration = choose_calibration(images[contract.SPLIT_TRAIN])
    started = time.process_time()
    quantised = quantise_trunks(version.plan, version.read, calibration, store)
    seconds = time.process_time() - started
    names = {key: f"int8 {key}" for key in quantised}
    fast = int8_network(version, QuantisedTrunks(networks.trunks, quantised, names))
    f32, bf16 = (
        network_of(version.plan, name, version.read, networks.trunks)
        for name in (OPENVINO_F32, OPENVINO_BF16)
    )
    first = np.stack(images[splits[0]])
    timed = first[:: max(1, len(first) // _TIMED_IMAGES)][:_TIMED_IMAGES]
    engines = {"f32": f32, "bf16": bf16, "served": version.engine, "int8 alone": fast}
    rates = {name: len(timed) / best for name, best in best_seconds(engines, timed).items()}
    told = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    yield f"images/s: {told}; quantised in {seconds:.0f} CPU s"
    difference = None
    for split in splits:
        judgement = judge(
            version, fast, np.stack(images[split]), networks.trunks, difference=difference
        )
        difference, figures = judgement.difference, judgement.figures
        yield (
            f"{split}, {figures.images} images: int8 alone moves {figures.largest_move_alone:.3f}, "
            f"{figures.classes_changed_alone} classes change; asked again "
            f"{figures.asked_again:.0%}: moves {figures.largest_move:.4f}, "
            f"{figures.classes_changed} classes change, {figures.images_per_second:.1f} images/s "
            f"beside {figures.images_per_second_otherwise:.1f}: {figures.gain:.2f}×; "
            f"{'chosen' if verdict(figures)[0] else 'not chosen'}"
        )


if __name__ == "__main__":
    main()
