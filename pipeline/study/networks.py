"""The networks of a study: they are loaded, and heads behind them answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import keras
import numpy as np
import tensorflow as tf

from models import feature_records
from models.augmentation_names import IDENTITY
from models.backbones import BOUNDARY_INPUT
from models.boundary import CutNetwork, load_network
from models.classifier import Classifier
from models.predictions import Predictions
from models.prefix import Job, Prefix
from pipeline.study.results import Recipe

# Test images through the suffix at once.
_TEST_BATCH: Final = 16


class Networks:
    """Cut networks; one that doesn't train is good for all seeds of its recipe."""

    def __init__(self, backbone_dir: str) -> None:
        """Keep where the weights lie (`models.pretrained.save_pretrained`)."""
        self._backbone_dir = backbone_dir
        self._kept: tuple[str, CutNetwork] | None = None

    def of(self, recipe: Recipe) -> CutNetwork:
        """Return the network that a recipe trains, or stands on, with its pre-trained weights."""
        if self._kept is not None and self._kept[0] == recipe.name:
            return self._kept[1]
        self._kept = None
        # Keras keeps what it knows of networks that nobody uses any more. Collects garbage, too.
        keras.utils.clear_session()
        params = recipe.params
        network = load_network(
            recipe.backbone, params.scaling, params.boundary, self._backbone_dir, params.head.taps
        )
        if not network.suffix.trainable_variables:
            self._kept = recipe.name, network
        return network


def load_prefix(job: Job) -> Prefix:
    """Load the prefix, run by the engine that was resolved, and by no other.

    Featurizer goes on with another engine and says so in the lineage. Here, some images'
    features would come from one and others' from another.
    """
    prefix = Prefix(job)
    # At the input there is nothing to run.
    if prefix.engine != job.engine and job.boundaries != (BOUNDARY_INPUT,):
        raise RuntimeError(
            f"{job.engine} can't run {job.backbone}'s frozen network; start again, or give "
            "featurizer.engine: tensorflow in the configuration"
        )
    return prefix


def answer(
    classifier: Classifier, sources: Mapping[str, Sequence[str]], *, multiply_adds: int
) -> Predictions:
    """Answers to images of which the features are known.

    Args:
        classifier: trained.
        sources: backbone -> patterns of the features, in the same order of images for all.
        multiply_adds: what an answer costs.

    Raises:
        ValueError: the features aren't of the same images.
    """
    identity = (IDENTITY,)
    networks = classifier.network.parts
    hashes = {
        name: feature_records.read_hashes(sources[name], augmentations=identity)
        for name in networks
    }
    sha256 = next(iter(hashes.values()))
    if any(others != sha256 for others in hashes.values()):
        raise ValueError(f"the features of {', '.join(networks)} are of different images")
    streams = [
        feature_records.read(
            sources[n], part.features, batch_size=_TEST_BATCH, augmentations=identity
        )
        for n, part in networks.items()
    ]
    labels: list[np.ndarray] = []
    answers: dict[str, list[np.ndarray]] = {name: [] for name in classifier.heads}
    for batches in zip(*streams, strict=True):
        features = {
            name: {n: tf.cast(values, tf.float32) for n, values in batch.items()}
            for name, (batch, _) in zip(networks, batches, strict=True)
        }
        taps = classifier.network.taps(features)
        labels.append(batches[0][1].numpy())
        for name, head in classifier.heads.items():
            answers[name].append(head(taps).numpy().astype(np.float64))
    return Predictions(
        sha256,
        np.concatenate(labels),
        {name: np.concatenate(parts) for name, parts in answers.items()},
        multiply_adds,
    )
