"""Copies the statistics of the images behind an earlier version out of what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.pushed_versions.choice import VERSION
from components.pushed_versions.comparison import NotComparableError, digest_of
from components.pushed_versions.driver import ChoosingDriver
from components.pushed_versions.executor import ChoosingExecutor
from components.pushed_versions.record import Kept, read_kept
from components.saved_models import versions_in
from schema import contract

MANIFEST: Final = "manifest"
PUSHED: Final = "pushed"
STATISTICS: Final = "statistics"


class Driver(ChoosingDriver):
    """Says which version's images this run's are compared with."""

    @staticmethod
    def choose(
        input_dict: Mapping[str, list[types.Artifact]], exec_properties: Mapping[str, Any]
    ) -> Kept | None:
        """Look through the versions, the latest first, for one of other images.

        Raises:
            NotComparableError: this run's own manifest can't be read.
        """
        own = digest_of(artifact_utils.get_single_uri(input_dict[MANIFEST]))
        pushed = exec_properties[PUSHED]
        for version in versions_in(pushed):
            try:
                kept = read_kept(os.path.join(pushed, version))
            except NotComparableError as reason:
                logging.warning("No statistics of %s in %s: %s.", version, pushed, reason)
                continue
            if kept.split != own and fileio.exists(kept.statistics):
                return kept
        return None


class Executor(ChoosingExecutor):
    """Writes statistics, or nothing where nothing was pushed that was trained on other images."""

    DRIVER = Driver
    NOTHING = "Nothing in %(pushed)s is of other images."

    @staticmethod
    def hand_on(
        found: Kept,
        output_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
    ) -> None:
        """Copy the statistics."""
        statistics = artifact_utils.get_single_instance(output_dict[STATISTICS])
        statistics.split_names = artifact_utils.encode_split_names(list(contract.SPLITS))
        statistics.set_string_custom_property(VERSION, found.version)
        io_utils.copy_dir(found.statistics, statistics.uri)
