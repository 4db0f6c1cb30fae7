"""`cxr beam`: what a run would tell Beam, without running anything, and a pool of workers."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from common.errors import InputError
from pipeline.config.beam import ENGINES, POOL_PORT, BeamPlan, plan_beam, require_known
from pipeline.config.beam_names import flink_versions

_OPTIONS = "options"
_FIRST_SEEN = (
    "Where the jar can't be had, the first Beam node ends with \"Unable to fetch remote job server "
    'jar"; where Java is missing, with "Java must be installed". What comes after that, nobody '
    "has seen."
)
# Engine -> why no more is known.
_UNTRIED = {
    "flink": f"neither Flink nor Beam's job server for it was at hand. {_FIRST_SEEN}",
    "spark": f"neither Spark nor Beam's job server for it was at hand. {_FIRST_SEEN}",
    "dataflow": "no project of Google Cloud was at hand. What fails first, nobody has seen.",
}


class _OptionsUnlessNamed(TyperGroup):
    """`cxr beam BEAM` is `cxr beam options BEAM`: no engine has a command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [_OPTIONS, *args]
        return super().parse_args(ctx, args)


beam_app = typer.Typer(
    cls=_OptionsUnlessNamed,
    help="Say what a run would tell Beam (cxr beam BEAM), or be a pool of Beam's workers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@beam_app.command(_OPTIONS)
def beam_options(
    where: Annotated[str, typer.Argument(metavar="BEAM", help=f"{ENGINES}, or a YAML of options.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help="Further pipeline option, --name=value, as in beam_args; repeatable."),
    ] = None,
) -> None:
    """Print the pipeline options of `--beam BEAM`, what each is for, and what is still missing.

    `cxr beam BEAM` is the same. Runs nothing and contacts nobody.
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


@beam_app.command("worker-pool")
def worker_pool(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Whoever reaches another one runs code here."),
    ] = "localhost",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 for any that is free.")
    ] = POOL_PORT,
) -> None:
    """Start Beam's workers in this environment where a runner asks for them; ends with Ctrl-C.

    For `--beam portable:…`, `flink:…`, `spark:…`, beside every worker of the runner.
    """
    from common.runtime import prepare_environment

    prepare_environment()
    from pipeline.beam.worker_pool import serve_pool

    serve_pool(host, port, _say_with_time)


def _say_with_time(sentence: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {sentence}.", err=True)


def describe(plan: BeamPlan) -> str:
    """Write one option a line, then what still has to be given or to be there."""
    width = max(len(argument) for argument in plan.arguments)
    lines = [f"{o.argument:<{width}}  # {o.reason}" for o in plan.options]
    if plan.missing:
        lines += ["", "Still missing, and nothing runs without (beam_args, or a YAML of options):"]
        lines += [f"--{name}=…  # {what}" for name, what in plan.missing.items()]
    if plan.provide:
        lines += ["", "Has to be there:", *(f"- {sentence}" for sentence in plan.provide)]
    if plan.engine in _UNTRIED:
        lines += ["", f"Options checked, never run: {_UNTRIED[plan.engine]}"]
    if plan.engine == "flink":
        lines += [f"This Beam has job servers for Flink {', '.join(flink_versions())}."]
    return "\n".join(lines)
