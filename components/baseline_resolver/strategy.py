"""Resolver strategy: the last blessed model that isn't the candidate itself."""

from __future__ import annotations

from typing import Final

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver

CANDIDATE: Final = "candidate"
MODEL: Final = "model"
BLESSING: Final = "model_blessing"
_CURRENT_MODEL_ID = "current_model_id"
_BLESSED = "blessed"


class LatestOtherBlessedStrategy(resolver.ResolverStrategy):
    """Like TFX's LatestBlessedModelStrategy, but leaves the candidate out.

    With the stock strategy a second run without changes finds the first run's own model
    as its baseline: the Evaluator's inputs differ from the first run's, so it and all
    behind it run again, and the model is pushed a second time. Without the candidate the
    second run finds what the first one found, and is a cache hit. Going back to an earlier
    recipe compares its model, itself from the cache, with the latest other one.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses the baseline.

        Args:
            store: not used.
            input_dict: `candidate`, and all of this backbone's `model` and
                `model_blessing` artifacts, of any run.

        Returns:
            At most one `model`, and its blessing.
        """
        candidates = {artifact.id for artifact in input_dict.get(CANDIDATE, [])}
        blessings = {
            artifact.get_int_custom_property(_CURRENT_MODEL_ID): artifact
            for artifact in input_dict.get(BLESSING, [])
            if artifact.get_int_custom_property(_BLESSED) == 1
        }
        others = [
            artifact
            for artifact in input_dict.get(MODEL, [])
            if artifact.id in blessings and artifact.id not in candidates
        ]
        latest = max(others, key=lambda artifact: artifact.id, default=None)
        return {
            CANDIDATE: input_dict.get(CANDIDATE, []),
            MODEL: [latest] if latest else [],
            BLESSING: [blessings[latest.id]] if latest else [],
        }
