"""The `cxr` command. Nothing here imports TFX or TensorFlow before it needs to."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError
from pipeline.beam.command import beam_app
from pipeline.check.command import check as check_command
from pipeline.config.command import config as config_command
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
    comma_separated,
    run_overrides,
    without_none,
)
from pipeline.deidentify.command import deidentify
from pipeline.kubeflow.cli import kubeflow_app
from pipeline.local.cache_command import cache_app
from pipeline.local.exit_codes import (
    EXIT_ERROR,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NONE_BLESSED,
)
from pipeline.local.exit_codes import EXIT_PUSHED as EXIT_PUSHED
from pipeline.rollout.command import canary, promote, rollback
from pipeline.runs.cli import runs_app
from pipeline.watch.command import watch_app
from serving.commands.export import export_openvino
from serving.commands.predict import predict
from serving.commands.serve import serve
from serving.dicom_node.command import dicom_node
from serving.signing.command import sign, verify

app = typer.Typer(
    help="Train, judge and serve chest X-ray classifiers on TFX.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@contextlib.contextmanager
def _naming_the_log(log: Path, verbose: bool) -> Iterator[None]:
    """Turn what is not the user's own mistake into one line that says where to read on."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        hint = "" if verbose else f" The whole log is in {log}."
        raise RuntimeError(f"{str(error).rstrip('.')}.{hint}") from error


@app.command()
def run(
    data: ImageFolder = None,
    metadata: MetadataFile = None,
    weights_dir: WeightsFolder = None,
    output: Annotated[
        Path | None, typer.Option(help="All that the run writes lies here [default: output].")
    ] = None,
    backbones: Backbones = None,
    preset: PresetName = None,
    seed: Seed = None,
    min_accuracy: MinAccuracy = None,
    tune: Tune = False,
    tuned: Tuned = False,
    beam: Beam = None,
    config: ConfigFile = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what TFX and TensorFlow log, too.")
    ] = False,
) -> None:
    """Run the whole pipeline on this machine."""
    from common.runtime import logs_to
    from pipeline.config.layout import OutputLayout
    from pipeline.config.pipeline_config import load_config
    from pipeline.local.console import Console
    from pipeline.local.exclusive import alone_in

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
    settings = load_config(config, preset=preset, overrides=overrides)
    layout = OutputLayout(settings.output)
    console = Console()
    try:
        with (
            # First: the log is that of the run that holds the folder.
            alone_in(layout),
            _naming_the_log(layout.log, verbose),
            logs_to(layout.log, verbose=verbose),
        ):
            from pipeline.local_runner import run as run_pipeline

            summary = run_pipeline(settings, console)
    finally:
        console.stop()
    if summary is None:
        raise RuntimeError("the runner ran nothing")
    console.result(summary, layout)
    pushed = [m["pushed_to"] for m in summary["models"].values() if m["pushed_to"]]
    if not pushed:
        audit = summary["audit"]
        blessed = any(model["blessed"] for model in summary["models"].values())
        if blessed and audit and not audit["passed"]:
            typer.echo("The audit's limits are exceeded, so no model was pushed.")
        else:
            typer.echo("No model was blessed, so none was pushed.")
        raise typer.Exit(EXIT_NONE_BLESSED)


@app.command()
def study(
    data: ImageFolder = None,
    metadata: MetadataFile = None,
    weights_dir: WeightsFolder = None,
    output: Annotated[Path, typer.Option(help="All that the study writes lies here.")] = Path(
        "output/study"
    ),
    seeds: Annotated[int, typer.Option(help="How many.")] = 10,
    first_seed: Annotated[int, typer.Option(help="The others follow it.")] = 0,
    backbones: Backbones = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what TensorFlow logs, too.")
    ] = False,
) -> None:
    """Train and test over many seeds, and compare with the paper. Goes on where it stopped."""
    from common.runtime import logs_to
    from pipeline.config.layout import OutputLayout
    from pipeline.config.pipeline_config import load_config
    from pipeline.local.exclusive import alone_in
    from pipeline.study.command import TABLE_FILE, run_study, seeds_from
    from pipeline.study.screen import StudyScreen

    overrides = without_none(
        {
            "data": without_none({"dir": data, "metadata": metadata}),
            "output": output,
            "weights_dir": weights_dir,
            "backbones": comma_separated(backbones),
        }
    )
    settings = load_config(config, preset=preset, overrides=overrides)
    chosen = seeds_from(first_seed, seeds)
    trained = len(settings.backbones) + ("fusion" in settings.combined)
    screen = StudyScreen(len(chosen) * trained)
    log = output / "logs" / "study.log"
    with (
        alone_in(OutputLayout(output)),
        _naming_the_log(log, verbose),
        logs_to(log, verbose=verbose),
        screen,
    ):
        report = run_study(settings, chosen, screen)
    screen.result(report, output / TABLE_FILE)


@app.command()
def report(
    output: Annotated[Path, typer.Option(help="OUTPUT of a run.")] = Path("output"),
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what TensorFlow logs, too.")
    ] = False,
) -> None:
    """Build OUTPUT/report again from the last run's artifacts, without running the pipeline."""
    from common.runtime import logs_to, prepare_environment
    from pipeline.config.layout import OutputLayout
    from pipeline.runs.diff import LATEST, choose
    from pipeline.runs.record import read_records

    layout = OutputLayout(output)
    log = output / "logs" / "report.log"
    last = choose(read_records(layout), LATEST, "output")
    with _naming_the_log(log, verbose), logs_to(log, verbose=verbose):
        prepare_environment()
        from pipeline.local.report_folder import rebuild_report

        rebuild_report(layout, last)
    typer.echo(f"{layout.report / 'index.html'}")


@app.command()
def phantoms(
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    per_class: Annotated[
        str, typer.Option(help="Images of COVID-19, NORMAL, Viral Pneumonia.")
    ] = "36,60,48",
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the generator.")] = 0,
) -> None:
    """Draw synthetic chest phantoms. They are not medical data."""
    from pipeline.phantoms import write_phantoms

    try:
        counts = [int(part) for part in per_class.split(",")]
    except ValueError as error:
        raise InputError(f"per-class: {per_class!r} must be numbers such as 36,60,48.") from error
    path = write_phantoms(out, counts, size=size, seed=seed)
    typer.echo(f"{sum(counts)} phantoms (synthetic, not medical data) in {path}")


app.add_typer(runs_app, name="runs")
app.add_typer(kubeflow_app, name="kubeflow")
app.add_typer(beam_app, name="beam")
app.add_typer(cache_app, name="cache")
app.add_typer(watch_app, name="watch")
app.command()(check_command)
app.command()(config_command)
app.command()(predict)
app.command()(serve)
app.command()(export_openvino)
app.command()(sign)
app.command()(verify)
app.command()(dicom_node)
app.command()(deidentify)
app.command()(canary)
app.command()(promote)
app.command()(rollback)


@app.command()
def doctor(
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder with pre-trained weights.")
    ] = None,
) -> None:
    """Say what is installed, what is missing, and what to do about it."""
    from rich.console import Console

    from pipeline.doctor import diagnose, render, worst

    checks = diagnose(weights_dir)
    render(checks, Console())
    if worst(checks) == "fail":
        raise typer.Exit(EXIT_ERROR)


def _without_tildes(arguments: Sequence[str]) -> list[str]:
    """Expand `~` in `--option=~/folder`, where no shell does it."""
    expanded = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals and value.split("/")[0].startswith("~"):
            # As shells do: what is nobody's home stays as it is, which Path's method would refuse.
            argument = f"{option}={os.path.expanduser(value)}"  # noqa: PTH111
        expanded.append(argument)
    return expanded


@functools.cache
def _command(commands: typer.Typer) -> Callable[[Sequence[str]], object]:
    """Make a command of all, once in a process that is asked often: it takes 40 ms."""
    return typer.main.get_command(commands)


def main() -> None:
    """Run a command; turn errors into one line and the documented exit code."""
    try:
        _command(app)(_without_tildes(sys.argv[1:]))
    except InputError as error:
        typer.echo(f"cxr: {error}", err=True)
        raise SystemExit(EXIT_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except RuntimeError as error:
        typer.echo(f"cxr: {error}", err=True)
        raise SystemExit(EXIT_ERROR) from error


if __name__ == "__main__":
    main()
