"""Resolver strategy: the last blessed model, not the candidate, that compares with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import ml_metadata as mlmd
from absl import logging
from tfx import types
from tfx.dsl.components.common import resolver

from components.baseline_resolver.comparison import (
    NotComparableError,
    check_comparable,
    check_exists,
    training_data,
)

CANDIDATE: Final = "candidate"
MODEL: Final = "model"
BLESSING: Final = "model_blessing"
_CURRENT_MODEL_ID = "current_model_id"
_BLESSED = "blessed"


class LatestOtherBlessedStrategy(resolver.ResolverStrategy):
    """Like TFX's LatestBlessedModelStrategy, but for two restrictions.

    It leaves the candidate out. With the stock strategy a second run without changes finds
    the first run's own model as its baseline: the Evaluator's inputs differ from the first
    run's, so it and all behind it run again, and the model is pushed a second time. Without
    the candidate the second run finds what the first one found, and is a cache hit. Going
    back to an earlier recipe compares its model, itself from the cache, with the latest
    other one.

    And it takes a model only if a comparison on the candidate's test split is fair: the
    files are there, the classes are the same in the same order, and no image and no patient
    of that split was among what the model was trained with. After another seed the old model
    has seen most of the new test split; its accuracy there says nothing.
    """

    def resolve_artifacts(
        self,
        store: mlmd.MetadataStore | None,
        input_dict: dict[str, list[types.Artifact]],
    ) -> dict[str, list[types.Artifact]]:
        """Chooses the baseline; logs a warning for each blessed model that is passed over.

        Args:
            store: for the lineage of the models; without one there is no baseline.
            input_dict: `candidate`, and all of this backbone's `model` and
                `model_blessing` artifacts, of any run.

        Returns:
            At most one `model`, and its blessing.
        """
        candidates = input_dict.get(CANDIDATE, [])
        candidate_ids = {artifact.id for artifact in candidates}
        blessings = blessings_by_model(input_dict.get(BLESSING, []))
        others = [
            artifact
            for artifact in input_dict.get(MODEL, [])
            if artifact.id in blessings and artifact.id not in candidate_ids
        ]
        latest = _latest_comparable(store, candidates, others) if others else None
        return {
            CANDIDATE: candidates,
            MODEL: [latest] if latest else [],
            BLESSING: [blessings[latest.id]] if latest else [],
        }


def blessings_by_model(blessings: Iterable[types.Artifact]) -> dict[int, types.Artifact]:
    """Id of each blessed model -> its blessing."""
    return {
        artifact.get_int_custom_property(_CURRENT_MODEL_ID): artifact
        for artifact in blessings
        if artifact.get_int_custom_property(_BLESSED) == 1
    }


def _latest_comparable(
    store: mlmd.MetadataStore | None,
    candidates: list[types.Artifact],
    others: Iterable[types.Artifact],
) -> types.Artifact | None:
    if store is None or len(candidates) != 1:
        missing = "metadata store" if store is None else "single candidate"
        logging.warning("There is no baseline, because the resolver was given no %s.", missing)
        return None
    (candidate,) = candidates
    try:
        wanted = training_data(store, candidate)
    except NotComparableError as reason:
        logging.warning(
            "There is no baseline for the model in %s, because %s.", candidate.uri, reason
        )
        return None
    for other in sorted(others, key=lambda artifact: artifact.id, reverse=True):
        try:
            check_exists(other)
            check_comparable(wanted, training_data(store, other))
        except NotComparableError as reason:
            logging.warning("The model in %s is no baseline, because %s.", other.uri, reason)
        else:
            return other
    return None
