"""Options that several commands have, and what they prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

ModelDir = Annotated[Path, typer.Option(help="The run's serving folder.")]
SERVING_FOLDER: Final = Path("output/serving")
BitsStored = Annotated[
    int | None,
    typer.Option(
        min=9,
        max=15,
        help="Of the detector: scale unscaled 16-bit PNGs by it, as data.bits_stored.",
    ),
]
DicomWindow = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Which of a DICOM's VOI LUTs and windows counts, and not the one that the model "
        "learned with.",
    ),
]
DicomPercentile = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=49.9,
        help="Of DICOMs without any: cut off so much at both ends, and not what the model "
        "learned with.",
    ),
]
NetworkCache = Annotated[
    str | None,
    typer.Option(
        help="Folder for converted networks; empty for none.",
        envvar="CXR_NETWORK_CACHE",
        show_default="~/.cache/cxr-tfx/networks",
    ),
]


def cache_folder(given: str | None) -> Path | None:
    """Return the folder that `--network-cache` means; None for none."""
    if given is None:
        from serving.networks.cache_folder import default_folder

        return default_folder()
    return Path(given) if given else None


def prepare() -> None:
    """Prepare what has to be set before TensorFlow is imported."""
    from common.runtime import prepare_environment

    prepare_environment()
