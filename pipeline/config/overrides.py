"""The command line's options that are fields of the configuration, for all commands alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
Beam = Annotated[
    str | None, typer.Option(help="Where Beam runs (see cxr beam --help) [default: direct].")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="YAML file with any field of the configuration.")
]


def comma_separated(text: str | None) -> list[str] | None:
    """The parts of an option such as `vgg16,xception`; None where it isn't given."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """What was given: neither None nor an empty mapping."""
    return {key: value for key, value in values.items() if value not in (None, {})}
