"""Resolver strategy: the last blessed model that was trained on other images."""

from __future__ import annotations

from typing import Final

import ml_metadata as mlmd
from absl import logging
from tfx import types
from tfx.dsl.components.common import resolver

from components.baseline_resolver.comparison import (
    NotComparableError,
    TrainingData,
    check_comparable,
    check_exists,
    digest_of,
    own_manifest,
    training_data,
    training_data_from,
)
from components.baseline_resolver.lineage import written_with
from components.baseline_resolver.strategy import BLESSING, MODEL, blessings_by_model

MANIFEST: Final = "manifest"
RUN: Final = "model_run"


class LatestModelOnOtherImagesStrategy(resolver.ResolverStrategy):
    """Like TFX's LatestBlessedModelStrategy, but for two restrictions.

    It takes no model of this run's own images: a second run without changes finds what the
    first one found, and is a cache hit; a model that goes on from itself would be trained
    anew for ever. And it takes none that has seen images or patients of this run's test
    split, since what goes on from it has seen them, too.
    """

    def resolve_artifacts(
        self,
        store: mlmd.MetadataStore | None,
        input_dict: dict[str, list[types.Artifact]],
    ) -> dict[str, list[types.Artifact]]:
        """Chooses the model; logs a warning for each that is passed over for its training.

        Args:
            store: for the lineage of the models; without one there is no earlier model.
            input_dict: this run's `manifest`, and all of this backbone's `model`,
                `model_blessing` and `model_run` artifacts, of any run.

        Returns:
            `manifest` as it came; at most one `model`, with its blessing and its run.
        """
        current = input_dict.get(MANIFEST, [])
        blessings = blessings_by_model(input_dict.get(BLESSING, []))
        models = [artifact for artifact in input_dict.get(MODEL, []) if artifact.id in blessings]
        runs = {artifact.id: artifact for artifact in input_dict.get(RUN, [])}
        found: list[types.Artifact] = []
        beside: list[types.Artifact] = []
        if store is not None and len(current) == 1 and models:
            found, beside = _latest(store, current[0].uri, models, runs)
        return {
            MANIFEST: current,
            MODEL: found,
            BLESSING: [blessings[model.id] for model in found],
            RUN: beside,
        }


def _latest(
    store: mlmd.MetadataStore,
    manifest_uri: str,
    models: list[types.Artifact],
    runs: dict[int, types.Artifact],
) -> tuple[list[types.Artifact], list[types.Artifact]]:
    """The model and its run; both empty where no model will do."""
    try:
        wanted = training_data_from(manifest_uri)
        digest = digest_of(manifest_uri)
    except NotComparableError as reason:
        logging.warning("Training starts from no earlier model, because %s.", reason)
        return [], []
    for model in sorted(models, key=lambda artifact: artifact.id, reverse=True):
        beside = [runs[i] for i in written_with(store, model.id) if i in runs]
        try:
            if _is_of(store, model, digest):
                continue
            _check(store, wanted, model, beside)
        except NotComparableError as reason:
            logging.warning(
                "Training doesn't start from the model in %s, because %s.", model.uri, reason
            )
        else:
            return [model], beside
    return [], []


def _is_of(store: mlmd.MetadataStore, model: types.Artifact, digest: str) -> bool:
    """Whether it was trained on the very images of this run."""
    return digest_of(own_manifest(store, model).uri) == digest


def _check(
    store: mlmd.MetadataStore,
    wanted: TrainingData,
    model: types.Artifact,
    beside: list[types.Artifact],
) -> None:
    check_exists(model)
    if len(beside) != 1:
        raise NotComparableError("nobody knows what its training left beside it")
    check_comparable(wanted, training_data(store, model))
