"""`cxr beam`: what a run would tell Beam, without running anything."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.beam_config import ENGINES, BeamPlan, plan_beam, require_known
from schema.errors import InputError


def beam(
    where: Annotated[str, typer.Argument(metavar="BEAM", help=f"{ENGINES}, or a YAML of options.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help="Further pipeline option, --name=value, as in beam_args; repeatable."),
    ] = None,
) -> None:
    """Print the pipeline options of `--beam BEAM`, what each is for, and what is still missing.

    Runs nothing and contacts nobody.
    """
    own = option or []
    for argument in own:
        if not argument.startswith("--"):
            raise InputError(f"option: {argument!r} is no Beam option: write --name=value.")
    try:
        plan = plan_beam(where, own)
    except ValueError as error:
        raise InputError(f"beam: {error}.") from error
    require_known(plan.arguments)
    typer.echo(describe(plan))


def describe(plan: BeamPlan) -> str:
    """One option a line, then what still has to be given or to be there."""
    width = max(len(argument) for argument in plan.arguments)
    lines = [f"{o.argument:<{width}}  # {o.reason}" for o in plan.options]
    if plan.missing:
        lines += ["", "Still missing, and nothing runs without (beam_args, or a YAML of options):"]
        lines += [f"--{name}=…  # {what}" for name, what in plan.missing.items()]
    if plan.provide:
        lines += ["", "Has to be there:", *(f"- {sentence}" for sentence in plan.provide)]
    return "\n".join(lines)
