"""The command line's options that are fields of the configuration, for all commands alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import InputError

ImageFolder = Annotated[Path | None, typer.Option(help="Folder with one folder of PNGs a class.")]
MetadataFile = Annotated[
    Path | None, typer.Option(help="CSV with a line an image; default DATA/metadata.csv.")
]
WeightsFolder = Annotated[
    Path | None, typer.Option(help="Folder with pre-trained weights (HDF5, notop).")
]
Backbones = Annotated[str | None, typer.Option(help="Comma-separated: vgg16,xception,densenet121.")]
PresetName = Annotated[str | None, typer.Option(help="fast, paper or demo [default: fast].")]
Seed = Annotated[int | None, typer.Option(help="Of every random choice.")]
MinAccuracy = Annotated[
    float | None, typer.Option(help="A model below it isn't pushed [default: 0.9].")
]
Tune = Annotated[bool, typer.Option("--tune", help="Search for a better recipe before training.")]
Tuned = Annotated[
    bool, typer.Option("--tuned", help="Train by what an earlier --tune in OUTPUT found.")
]
Beam = Annotated[
    str | None, typer.Option(help="Where Beam runs (see cxr beam --help) [default: direct].")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="YAML file with any field of the configuration.")
]


def run_overrides(
    *,
    data: Path | None,
    metadata: Path | None,
    weights_dir: Path | None,
    output: Path | None,
    backbones: str | None,
    seed: int | None,
    min_accuracy: float | None,
    tune: bool,
    tuned: bool,
    beam: str | None,
) -> dict[str, Any]:
    """Turn the options of `cxr run` into fields of the configuration.

    Raises:
        InputError: two options exclude each other.
    """
    if tune and tuned:
        raise InputError("tuned: give either --tune or --tuned, not both.")
    mode = {"mode": "search"} if tune else {"mode": "reuse"} if tuned else {}
    return without_none(
        {
            "data": without_none({"dir": data, "metadata": metadata}),
            "output": output,
            "weights_dir": weights_dir,
            "backbones": comma_separated(backbones),
            "seed": seed,
            "gate": without_none({"min_accuracy": min_accuracy}),
            "tuning": mode,
            "beam": beam,
        }
    )


def comma_separated(text: str | None) -> list[str] | None:
    """Split an option such as `vgg16,xception` into its parts; None where it isn't given."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Keep what was given: neither None nor an empty mapping."""
    return {key: value for key, value in values.items() if value not in (None, {})}
