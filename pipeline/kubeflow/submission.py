"""The submission of an IR file to the server: pipeline, version, experiment, run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from common.errors import InputError
from pipeline.kubeflow.api_errors import ApiError
from pipeline.kubeflow.package import Package, ParameterValue

if TYPE_CHECKING:
    from pipeline.kubeflow.api_client import Api

_T = TypeVar("_T")
_CONFLICT: Final = 409


@dataclass(frozen=True)
class Submission:
    """The IR that is to run, and its names.

    Attributes:
        package: the IR.
        pipeline_name: of the pipeline on the server.
        version_name: of its version; None for one from the IR's digest.
        experiment: its name; made where there is none.
        run_name: None for the pipeline's name and the time.
        pipeline_root: URI for the run's artifacts; None for the installation's own.
        parameters: of the run, typed as the IR declares them.
    """

    package: Package
    pipeline_name: str
    version_name: str | None
    experiment: str
    run_name: str | None
    pipeline_root: str | None
    parameters: Mapping[str, ParameterValue]

    @property
    def description(self) -> str:
        """The text of a version's description, by which the same IR is found again."""
        return f"IR {self.package.digest}"


def start(server: Api, wanted: Submission, say: Callable[[str], None]) -> str:
    """Upload what isn't there yet, and start a run.

    Args:
        server: the API server.
        wanted: what is to run.
        say: takes a line for the user.

    Returns:
        The run's id.

    Raises:
        InputError: the version's name is taken by another IR, or a namespace is missing.
        ApiError: a call failed.
    """
    if server.needs_namespace:
        raise InputError("namespace: the server is for many users; give yours with --namespace.")
    pipeline_id, version_id = _twice(lambda: _version(server, wanted, say))
    return server.start(
        experiment_id=_twice(lambda: server.experiment_id(wanted.experiment)),
        name=wanted.run_name or f"{wanted.pipeline_name} {datetime.now():%Y-%m-%d %H:%M:%S}",
        pipeline_id=pipeline_id,
        version_id=version_id,
        parameters=wanted.parameters,
        pipeline_root=wanted.pipeline_root,
    )


def _twice(find_or_make: Callable[[], _T]) -> _T:
    """Try again where it was made between the look-up and the making."""
    try:
        return find_or_make()
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return find_or_make()


def _version(server: Api, wanted: Submission, say: Callable[[str], None]) -> tuple[str, str]:
    """Return the ids of the pipeline and of its version with this IR."""
    content, description = wanted.package.content, wanted.description
    pipeline_id = there = server.pipeline_id(wanted.pipeline_name)
    if pipeline_id is None:
        pipeline_id = server.upload(content, wanted.pipeline_name, description)
        say(f"Uploaded the pipeline {wanted.pipeline_name}.")
    if found := _reusable(server.versions(pipeline_id), wanted):
        if there:
            say(f"Version {found.display_name} of {wanted.pipeline_name} holds this IR already.")
        return pipeline_id, found.pipeline_version_id
    name = wanted.version_name or wanted.package.version_name
    version_id = server.upload_version(content, pipeline_id, name, description)
    say(f"Uploaded version {name} of the pipeline {wanted.pipeline_name}.")
    return pipeline_id, version_id


def _reusable(versions: Sequence[Any], wanted: Submission) -> Any | None:
    """Find the version to run, if it's there.

    A pipeline's first version is named by the server; where the user names none, the digest in
    its description is enough.
    """
    name = wanted.version_name or wanted.package.version_name
    for version in versions:
        if version.display_name == name:
            if wanted.package.digest not in (version.description or ""):
                raise InputError(
                    f"version-name: {name} of {wanted.pipeline_name} exists and doesn't hold this "
                    f"IR ({wanted.package.digest}) by its description; give another "
                    "--version-name."
                )
            return version
    if wanted.version_name is None:
        for version in versions:
            if wanted.package.digest in (version.description or ""):
                return version
    return None
