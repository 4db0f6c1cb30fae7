"""The commands `cxr canary`, `cxr promote` and `cxr rollback`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import InputError
from pipeline.pushed_options import Pushed
from serving.commands.options import SERVING_FOLDER

if TYPE_CHECKING:
    from pipeline.rollout.changing import Signed
    from serving.core.rollout import Rollout

Model = Annotated[str, typer.Option(help="A backbone's name, or champion.")]
ModelDir = Annotated[Path, typer.Option(help="The run's serving folder, which is served.")]
Why = Annotated[str, typer.Option(help="A sentence for the version's record.")]
By = Annotated[str | None, typer.Option(help="Who decides.", show_default="your login")]


def canary(
    version: Annotated[
        int | None, typer.Option(min=0, help="That is tried; with --stop, none.")
    ] = None,
    why: Why = "",
    model: Model = "champion",
    share: Annotated[float, typer.Option(help="Of the requests, by their image; up to 1.")] = 0.1,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Ask it, too, and answer by the stable version.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the trial.")] = False,
    model_dir: ModelDir = SERVING_FOLDER,
    pushed: Pushed = None,
    by: By = None,
) -> None:
    """Try a version on a share of the requests, or beside the stable one."""
    from pipeline.rollout.changing import place_of_model, stop_trial, try_version

    if stop == (version is not None):
        raise InputError("version: give the one to try, or --stop to end the trial.")
    place = place_of_model(model_dir, pushed, model)
    if version is None:
        _say(model, stop_trial(place, _signed(by, why)))
    else:
        _say(model, try_version(place, version, share, _signed(by, why), shadow=shadow))


def promote(
    why: Why = "",
    model: Model = "champion",
    version: Annotated[
        int | None, typer.Option(min=0, help="To promote.", show_default="the one on trial")
    ] = None,
    model_dir: ModelDir = SERVING_FOLDER,
    pushed: Pushed = None,
    by: By = None,
) -> None:
    """Make a version the one that answers. Later pushes don't change that."""
    from pipeline.rollout.changing import place_of_model, promote

    place = place_of_model(model_dir, pushed, model)
    _say(model, promote(place, version, _signed(by, why)))


def rollback(
    why: Why = "",
    model: Model = "champion",
    model_dir: ModelDir = SERVING_FOLDER,
    pushed: Pushed = None,
    by: By = None,
) -> None:
    """Make the version answer again that did before; a trial ends."""
    from pipeline.rollout.changing import place_of_model, roll_back

    place = place_of_model(model_dir, pushed, model)
    _say(model, roll_back(place, _signed(by, why)))


def _signed(by: str | None, why: str) -> Signed:
    from pipeline.rollout.changing import Signed

    if by is None:
        try:
            by = getpass.getuser()
        # Python 3.13 raises OSError where a container's user has no name, and 3.10 KeyError.
        except (KeyError, OSError) as error:
            raise InputError("by: this user has no name; say who decides with --by.") from error
    return Signed(by, why)


def _say(model: str, rollout: Rollout) -> None:
    tried = ""
    if rollout.tried is not None:
        share = f"{100 * rollout.share:g} % of the requests"
        how = "is asked beside it on" if rollout.shadow else "answers"
        tried = f"; version {rollout.tried} {how} {share}"
    typer.echo(f"{model}: version {rollout.stable} is stable{tried}.")
