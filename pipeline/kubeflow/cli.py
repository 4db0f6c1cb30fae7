"""`cxr kubeflow`: compile, run-local, submit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError
from pipeline.config.overrides import (
    Backbones,
    Beam,
    ConfigFile,
    MinAccuracy,
    PresetName,
    Seed,
    Tune,
    comma_separated,
    without_none,
)
from pipeline.kubeflow.submit_command import submit

kubeflow_app = typer.Typer(
    help="Compile the pipeline for Kubeflow, execute it here, submit it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@kubeflow_app.command("compile")
def compile_command(
    data: Annotated[
        str | None, typer.Option(help="Folder of images as the steps see it: path or URI.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(help="metadata.csv, likewise; default the one in DATA.")
    ] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("cxr-tfx.yaml"),
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder with the weights on this machine.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="That folder as the steps see it: path or URI.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Of all steps.")] = None,
    root: Annotated[str | None, typer.Option(help="URI of the artifacts.")] = None,
    serving: Annotated[
        str | None, typer.Option(help="Folder or URI that models are pushed to.")
    ] = None,
    pushed: Annotated[
        str | None, typer.Option(help="Folder or URI that keeps what was pushed.")
    ] = None,
    data_version: Annotated[
        str | None, typer.Option(help="Names a state of the images, for the cache.")
    ] = None,
    backbones: Backbones = None,
    preset: PresetName = None,
    seed: Seed = None,
    min_accuracy: MinAccuracy = None,
    tune: Tune = False,
    beam: Beam = None,
    config: ConfigFile = None,
) -> None:
    """Write the pipeline as KFP v2 IR."""
    from common.runtime import prepare_environment
    from pipeline.config.pipeline_config import load_config

    kubeflow = {
        "data": data,
        "metadata": metadata,
        "weights": weights,
        "image": image,
        "root": root,
        "serving": serving,
        "pushed": pushed,
        "data_version": data_version,
    }
    overrides = without_none(
        {
            # The folder on this machine; the steps have their own.
            "data": without_none({"dir": Path(data) if data else None}),
            "kubeflow": without_none(kubeflow),
            "weights_dir": weights_dir,
            "backbones": comma_separated(backbones),
            "seed": seed,
            "gate": without_none({"min_accuracy": min_accuracy}),
            "tuning": {"mode": "search"} if tune else {},
            "beam": beam,
        }
    )
    settings = load_config(config, preset=preset, overrides=overrides)
    prepare_environment()
    from pipeline.kubeflow.compiler import write_ir

    write_ir(settings, output)
    typer.echo(f"{output}")
    if settings.kubeflow.root:
        typer.echo(
            f"kubeflow.root: Kubeflow does not read {settings.kubeflow.root} from this file. "
            "`cxr kubeflow submit` sends it with the run; elsewhere, give it as the run's "
            "pipeline root.",
            err=True,
        )


@kubeflow_app.command("run-local")
def run_local(
    ir: Annotated[Path, typer.Argument(help="IR, as `cxr kubeflow compile` writes it.")],
    output: Annotated[Path, typer.Option(help="Artifacts and logs lie here.")] = Path(
        "output/kubeflow"
    ),
    parameter: Annotated[
        list[str] | None, typer.Option(help="name=value of the pipeline; may be repeated.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Steps at once [default: cores].")] = None,
    docker: Annotated[
        bool, typer.Option("--docker", help="Each step in a container of the IR's image.")
    ] = False,
    mount: Annotated[
        list[Path] | None,
        typer.Option(help="With --docker: a folder that the steps see, too; may be repeated."),
    ] = None,
    no_retries: Annotated[
        bool, typer.Option("--no-retries", help="A step that fails isn't tried again.")
    ] = False,
) -> None:
    """Execute IR on this machine: each step its own command, in a fresh process or container."""
    from pipeline.kubeflow.ir import pipeline_of
    from pipeline.kubeflow.local_run import run_ir
    from pipeline.kubeflow.package import parameters_from, read_package

    if mount and not docker:
        raise InputError("mount: only containers need it; add --docker.")
    package = read_package(ir)
    pipeline = pipeline_of(package, ir)
    values = pipeline.values(parameters_from(package, parameter or []))
    jobs = jobs or os.cpu_count() or 1
    if not run_ir(
        pipeline,
        values,
        output,
        jobs=jobs,
        mounts=[path.resolve() for path in mount or []] if docker else None,
        retries=not no_retries,
    ):
        raise typer.Exit(1)


kubeflow_app.command()(submit)
