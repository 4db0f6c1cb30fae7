"""Copies the version that a training goes on from out of the serving folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.pushed_versions.choice import copy_version, latest_comparable
from components.pushed_versions.comparison import NotComparableError, digest_of
from components.pushed_versions.driver import ChoosingDriver
from components.pushed_versions.executor import ChoosingExecutor
from components.pushed_versions.record import Kept, training_data_of
from components.pushed_versions.seen_images import write_seen
from schema import contract

MANIFEST: Final = "manifest"
SERVING: Final = "serving"
PUSHED: Final = "pushed"
MODEL: Final = "model"
RUN: Final = "model_run"


class Driver(ChoosingDriver):
    """Says which version a training goes on from."""

    @staticmethod
    def choose(
        input_dict: Mapping[str, list[types.Artifact]], exec_properties: Mapping[str, Any]
    ) -> Kept | None:
        """Look through the versions, the latest first, for one of other images.

        Raises:
            NotComparableError: this run's own manifest can't be read.
        """
        manifest = artifact_utils.get_single_uri(input_dict[MANIFEST])
        own = digest_of(manifest)

        def fits(kept: Kept) -> bool:
            # A model that went on from itself would be trained anew for ever.
            if kept.split == own:
                return False
            if not fileio.exists(kept.recipe):
                raise NotComparableError("nobody kept its recipe")
            return True

        passed_over = "Training doesn't start from version %s in %s, because %s."
        serving, pushed = exec_properties[SERVING], exec_properties[PUSHED]
        return latest_comparable(serving, pushed, manifest, passed_over, fits)


class Executor(ChoosingExecutor):
    """Writes a model and what was beside its training, or nothing where none will do."""

    DRIVER = Driver
    NOTHING = "Training can start from no version in %(serving)s."

    @staticmethod
    def hand_on(
        found: Kept,
        output_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
    ) -> None:
        """Copy the version, its recipe, and what it has seen."""
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        copy_version(found, exec_properties[SERVING], model)
        run = artifact_utils.get_single_uri(output_dict[RUN])
        fileio.makedirs(run)
        fileio.copy(found.recipe, os.path.join(run, contract.TRAINING_FILE), overwrite=True)
        write_seen(run, training_data_of(found).seen)
