"""Copies the model that a candidate is measured against out of the serving folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.pushed_versions.choice import copy_version, latest_comparable
from components.pushed_versions.driver import ChoosingDriver
from components.pushed_versions.executor import ChoosingExecutor
from components.pushed_versions.record import Kept
from components.saved_models import digest_of_model

MANIFEST: Final = "manifest"
CANDIDATE: Final = "candidate"
SERVING: Final = "serving"
PUSHED: Final = "pushed"
MODEL: Final = "model"


class Driver(ChoosingDriver):
    """Says which version will be the baseline."""

    @staticmethod
    def choose(
        input_dict: Mapping[str, list[types.Artifact]], exec_properties: Mapping[str, Any]
    ) -> Kept | None:
        """Look through the versions, the latest first, for one that isn't the candidate itself.

        With itself for a baseline, a second run without changes would evaluate anew.

        Raises:
            NotComparableError: this run's own manifest can't be read.
        """
        candidate = artifact_utils.get_single_uri(input_dict[CANDIDATE])
        own = digest_of_model(path_utils.serving_model_path(candidate))
        return latest_comparable(
            exec_properties[SERVING],
            exec_properties[PUSHED],
            artifact_utils.get_single_uri(input_dict[MANIFEST]),
            "Version %s in %s is no baseline: %s.",
            lambda kept: kept.model != own,
        )


class Executor(ChoosingExecutor):
    """Writes a model, or nothing where no version can be compared."""

    DRIVER = Driver
    NOTHING = "No version in %(serving)s can be the baseline."

    @staticmethod
    def hand_on(
        found: Kept,
        output_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
    ) -> None:
        """Copy the version, and what answers in its place where its features are there."""
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        copy_version(found, exec_properties[SERVING], model)
        if fileio.exists(found.heads):
            io_utils.copy_dir(found.heads, path_utils.eval_model_dir(model.uri))
