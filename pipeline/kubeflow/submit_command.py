"""`cxr kubeflow submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import InputError
from pipeline.kubeflow.access import access
from pipeline.kubeflow.package import parameters_from, read_package

if TYPE_CHECKING:
    from pipeline.kubeflow.api_client import Api
    from pipeline.kubeflow.submission import Submission

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def submit(
    ir: Annotated[
        Path, typer.Argument(metavar="IR.yaml", help="What `cxr kubeflow compile` wrote.")
    ],
    endpoint: Annotated[str, typer.Option(help="URL of the Kubeflow Pipelines API.")],
    pipeline_name: Annotated[
        str | None, typer.Option(help="On the server [default: the IR's pipelineInfo.name].")
    ] = None,
    version_name: Annotated[
        str | None, typer.Option(help="Of the IR's version [default: from the IR's digest].")
    ] = None,
    experiment: Annotated[str, typer.Option(help="Made where there is none.")] = "cxr-tfx",
    run_name: Annotated[
        str | None, typer.Option(help="[default: the pipeline's name and the time].")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Yours, on a server for many users.")
    ] = None,
    pipeline_root: Annotated[
        str | None, typer.Option(help="URI for the run's artifacts [default: the IR's].")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of the run; may be repeated."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute each step anew; uploads its own version.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the run until it ends.")
    ] = True,
    poll_seconds: Annotated[float, typer.Option(help="Between two looks at the run.")] = 5,
    timeout_seconds: Annotated[
        float | None, typer.Option(help="Stop following the run then [default: never].")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="With the bearer token [default: environment's CXR_KFP_TOKEN]."),
    ] = None,
    ca_cert: Annotated[
        Path | None, typer.Option(help="PEM file with the certificates to trust.")
    ] = None,
) -> None:
    """Upload the compiled pipeline to Kubeflow Pipelines, run it, and follow the run.

    Exits with 0 when the run succeeded (or, with --no-wait, has been started), 1 when it or a
    call failed, 2 for wrong input, 130 on Ctrl-C; the run goes on then.
    """
    _check_seconds(poll_seconds, timeout_seconds)
    package = read_package(ir)
    parameters = parameters_from(package, parameter or [])
    allowed = access(endpoint, token_file, ca_cert)
    for field, name in (
        ("pipeline-name", pipeline_name),
        ("version-name", version_name),
        ("experiment", experiment),
        ("run-name", run_name),
    ):
        if name is not None and not name.strip():
            raise InputError(f"{field}: is blank; give a name or leave it out.")

    from pipeline.kubeflow.submission import Submission

    wanted = Submission(
        package=package.without_cache() if no_cache else package,
        pipeline_name=pipeline_name or package.name,
        version_name=version_name,
        experiment=experiment,
        run_name=run_name,
        pipeline_root=pipeline_root or package.root,
        parameters=parameters,
    )
    try:
        # kfp takes seconds to import.
        from pipeline.kubeflow.api_client import Api

        api = Api(allowed, namespace)
        run_id = _start(api, wanted)
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped before a run was confirmed; {allowed.endpoint} may have one all the same.",
            err=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if wait and not _follow(api, run_id, wanted, namespace, poll_seconds, timeout_seconds):
        raise typer.Exit(EXIT_FAILED)


def _check_seconds(poll: float, timeout: float | None) -> None:
    # Not `<= 0`: that would let nan pass.
    if not 0 < poll < float("inf"):
        raise InputError(f"poll-seconds: {poll} must be above 0.")
    if timeout is not None and not 0 < timeout < float("inf"):
        raise InputError(f"timeout-seconds: {timeout} must be above 0; leave it out for no limit.")


def _start(api: Api, wanted: Submission) -> str:
    from common.console import open_console
    from pipeline.kubeflow.submission import start

    console = open_console()
    run_id = start(api, wanted, console.print)
    console.print(f"Run {run_id} started: {api.run_url(run_id)}")
    return run_id


def _follow(
    api: Api,
    run_id: str,
    wanted: Submission,
    namespace: str | None,
    poll_seconds: float,
    timeout_seconds: float | None,
) -> bool:
    """Follow a run; return whether it succeeded."""
    from pipeline.kubeflow.api_errors import ApiError
    from pipeline.kubeflow.submit_screen import SubmitScreen
    from pipeline.kubeflow.watching import SUCCEEDED, Pace, watch

    goes_on = f"The run {run_id} goes on: {api.run_url(run_id)}"
    logs = (
        f"kubectl logs -n {namespace or 'kubeflow'} -l pipeline/runid={run_id} "
        "--all-containers --prefix"
    )
    screen = SubmitScreen()

    def ask() -> Any:
        return api.run(run_id)

    try:
        pace = Pace(poll=poll_seconds, timeout=timeout_seconds)
        end = watch(ask, wanted.package.tasks, screen, pace)
        screen.result(end, api.run_url(run_id), logs)
    except KeyboardInterrupt:
        screen.stop()
        typer.echo(f"Stopped watching. {goes_on}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except ApiError as error:
        raise RuntimeError(f"{error} {goes_on}") from error
    except TimeoutError as error:
        raise RuntimeError(f"{error}. {goes_on}") from error
    finally:
        screen.stop()
    return end.state == SUCCEEDED
