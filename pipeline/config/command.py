"""The command `cxr config`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.overrides import (
    Backbones,
    Beam,
    ConfigFile,
    ImageFolder,
    MetadataFile,
    MinAccuracy,
    PresetName,
    Seed,
    Tune,
    Tuned,
    WeightsFolder,
    run_overrides,
)


def config(
    data: ImageFolder = None,
    metadata: MetadataFile = None,
    weights_dir: WeightsFolder = None,
    output: Annotated[Path | None, typer.Option(help="OUTPUT of the run.")] = None,
    backbones: Backbones = None,
    preset: PresetName = None,
    seed: Seed = None,
    min_accuracy: MinAccuracy = None,
    tune: Tune = False,
    tuned: Tuned = False,
    beam: Beam = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the configuration of a run with these options, and where each value comes from."""
    from pipeline.config.provenance import as_yaml, resolve

    overrides = run_overrides(
        data=data,
        metadata=metadata,
        weights_dir=weights_dir,
        output=output,
        backbones=backbones,
        seed=seed,
        min_accuracy=min_accuracy,
        tune=tune,
        tuned=tuned,
        beam=beam,
    )
    values = resolve(config, preset=preset, overrides=overrides)
    if as_json:
        found = {each.field: {"value": each.value, "source": each.source} for each in values}
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        typer.echo(as_yaml(values), nl=False)
