"""Resolver strategy: the last statistics that are not this run's own."""

from __future__ import annotations

import os
from typing import Final

import ml_metadata as mlmd
from absl import logging
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

CURRENT: Final = "current"
STATISTICS: Final = "statistics"


class LatestOtherStatisticsStrategy(resolver.ResolverStrategy):
    """Like TFX's LatestArtifactStrategy, but for the current statistics and those that are gone.

    With the stock strategy, what stands behind StatisticsGen finds this run's own statistics.
    Without them a second run on unchanged images finds what the first one found, and is a
    cache hit. Going back to earlier images, whose statistics come from the cache, finds the
    latest other ones, though they were computed later.
    """

    def resolve_artifacts(
        self,
        store: mlmd.MetadataStore | None,
        input_dict: dict[str, list[types.Artifact]],
    ) -> dict[str, list[types.Artifact]]:
        """Chooses the statistics; logs a warning for each artifact that is passed over.

        Args:
            store: not asked; the artifacts say it all.
            input_dict: `current`, and all of the node's `statistics`, of any run.

        Returns:
            `current` as it came; at most one `statistics`, none where the current ones aren't
            known: they could be among the others.
        """
        current = input_dict.get(CURRENT, [])
        known = {artifact.id for artifact in current}
        others = [a for a in input_dict.get(STATISTICS, []) if known and a.id not in known]
        return {CURRENT: current, STATISTICS: _latest(others)}


def _latest(statistics: list[types.Artifact]) -> list[types.Artifact]:
    for artifact in sorted(statistics, key=lambda artifact: artifact.id, reverse=True):
        if _are_there(artifact):
            return [artifact]
        logging.warning(
            "The statistics in %s are passed over, because their files are gone.", artifact.uri
        )
    return []


def _are_there(statistics: types.Artifact) -> bool:
    splits = artifact_utils.decode_split_names(statistics.split_names)
    folders = [artifact_utils.get_split_uri([statistics], split) for split in splits]
    names = [os.path.join(each, stats_artifact_utils.BINARY_PB_BASENAME) for each in folders]
    return bool(names) and all(fileio.exists(name) for name in names)
