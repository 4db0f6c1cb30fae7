"""One head on the taps of several frozen networks.

Each backbone's row says which of its taps take part, and what each is to count for
(`Backbone.fused_taps`). A tap's channels are standardised by the images that the head is fitted to,
and multiplied by

    sqrt(w / (W d)),

where d is the number of its channels, w its weight, and W the sum of all taps' weights. So the
expected square of a tap is w / W however many channels it has, and that of a whole row is 1: the
penalty means the same with any backbones. On the taps stands one softmax layer.

To all behind it a classifier of this kind is like a backbone's: its network are several, side by
side, and its taps are theirs, so that what speaks for an answer (`models.explanation`) is added up
over all networks in log-odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import keras

from models import convex
from models.augmentation_names import IDENTITY
from models.backbones import BOUNDARY_HEAD, Pool, Scaling, get_backbone
from models.boundary import Part
from models.convex import History
from models.fused_data import fused_name, joined
from models.heads import build_head
from models.hyperparameters import CROSS, HeadParams
from models.input_gate_fitting import Facts, fit_held_out, fit_out_of_fold
from models.lent_network import load_part
from models.refit import Fitted, answers_of, refit
from models.training import Task, Trained, judge
from models.training_data import ImageTaps, TapData
from schema import contract

# Lambda of the penalty; 3e-7 answers radiographs alike, out of fold.
L2: Final = 1e-6
# More than the head needs: on three networks' taps of 500 images L-BFGS takes some 100.
ITERATIONS: Final = 5_000
Validation = Literal["cross", "holdout"]


@dataclass(frozen=True)
class FusedNetwork:
    """Frozen networks side by side, each cut in front of its head.

    Attributes:
        parts: backbone -> its network, with the taps that take part.
    """

    parts: Mapping[str, Part]

    @property
    def pools(self) -> dict[str, Pool]:
        """Tap -> how its map is pooled."""
        return self._named({name: part.pools for name, part in self.parts.items()})

    @property
    def variables(self) -> list[keras.Variable]:
        """All networks'."""
        return [variable for part in self.parts.values() for variable in part.variables]

    def with_parts(self, parts: Mapping[str, Part]) -> FusedNetwork:
        """Return the same with other networks in the places of these."""
        return FusedNetwork(parts)

    def feature_maps(self, pixels: Any) -> dict[str, Any]:
        """Turn grey levels float32 [batch, 256, 256, 1] into {tap: map [batch, h, w, channels]}."""
        return self._named({n: part.feature_maps(pixels) for n, part in self.parts.items()})

    def pooled(self, maps: Mapping[str, Any]) -> dict[str, Any]:
        """Pool what `feature_maps` returned into {tap: float32 [batch, channels]}."""
        return self._named(
            {
                name: part.pooled({tap: maps[fused_name(name, tap)] for tap in part.pools})
                for name, part in self.parts.items()
            }
        )

    def taps(self, features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Turn {backbone: {feature: [batch, ...]}} into {tap: float32 [batch, channels]}."""
        return self._named({n: part.taps(features) for n, part in self.parts.items()})

    def scales(self) -> dict[str, float]:
        """Return for each tap what its standardised channels are multiplied by (see above)."""
        weights = self._named({name: get_backbone(name).fused_taps for name in self.parts})
        sizes = {name: tap.shape[-1] for name, tap in self._outputs().items()}
        whole = sum(weights.values())
        return {n: float((weights[n] / (whole * size)) ** 0.5) for n, size in sizes.items()}

    def _outputs(self) -> dict[str, Any]:
        return self._named({name: part.suffix.output for name, part in self.parts.items()})

    @staticmethod
    def _named(by_backbone: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {
            fused_name(name, tap): value
            for name, values in by_backbone.items()
            for tap, value in values.items()
        }


def load_fused(
    directories: Mapping[str, str], scalings: Mapping[str, Scaling | None]
) -> FusedNetwork:
    """Take the networks from where they are kept.

    Args:
        directories: backbone -> folder that `models.pretrained.save_pretrained` wrote.
        scalings: backbone -> what overrides its input scaling; None for its own.
    """
    return FusedNetwork(
        {
            name: load_part(
                name,
                scalings[name],
                BOUNDARY_HEAD,
                directory,
                tuple(get_backbone(name).fused_taps),
                name=name,
            )
            for name, directory in directories.items()
        }
    )


def fit_fusion(
    network: FusedNetwork,
    task: Task,
    training: ImageTaps,
    evaluation: ImageTaps,
    *,
    validation: Validation,
    seed: int,
    facts: Sequence[Facts] = ({}, {}),
) -> Trained:
    """Fit the head, and calibrate it.

    Args:
        network: what computed the taps.
        task: what is to be learnt.
        training: the train split, a row an image (`models.fused_data`).
        evaluation: the validation split.
        validation: which of them the head is fitted to and judged by, as
            `TrainingParams.validation` says.
        seed: of the folds.
        facts: for the input gate, of the train split's images, and of the validation split's.

    Raises:
        InputError: a class has images of one patient alone, and the folds need two.
        FloatingPointError: a feature is no number.
    """

    def fit_heads(taps: TapData, _: bool = True) -> tuple[dict[str, keras.Model], History]:
        head, history = _fitted(network, task, taps)
        return {contract.FLAT: head}, history

    if validation == CROSS:
        images = joined(training, evaluation)
        fitted = refit(images, seed, fit_heads)
        both = {**facts[0], **facts[1]}
        gate = fit_out_of_fold(images, both, network.pools, task.false_alarms, seed)
    else:
        unseen = (evaluation.taps, evaluation.labels)
        heads, history = fit_heads(TapData((training.taps, training.labels), unseen))
        answers = {name: answers_of(head, evaluation.taps) for name, head in heads.items()}
        fitted = Fitted(heads, history, answers, evaluation.labels, evaluation.sha256)
        gate = fit_held_out(
            training.taps,
            facts[0],
            evaluation.taps,
            facts[1],
            evaluation.sha256,
            network.pools,
            task.false_alarms,
        )
    cost = sum(part.multiply_adds for part in network.parts.values())
    trained = judge(network, replace(fitted, gate=gate), task, cost)
    return replace(trained, validation=trained.validation | {"members": sorted(network.parts)})


def recipe_of(backbones: Sequence[str], validation: Validation) -> dict[str, Any]:
    """Return how a head on these networks is fitted, in what JSON can hold."""
    return {
        "head": {
            "kind": "fused",
            "l2": L2,
            "taps": {name: dict(get_backbone(name).fused_taps) for name in backbones},
        },
        "augmentations": [IDENTITY],
        "epochs": ITERATIONS,
        "validation": validation,
    }


def _fitted(network: FusedNetwork, task: Task, taps: TapData) -> tuple[keras.Model, History]:
    head = build_head(
        HeadParams(l2=L2), taps.channels(), task.n_classes, taps.moments(), 0, network.scales()
    )
    history = convex.fit(head, taps.training, taps.validation, l2=L2, iterations=ITERATIONS)
    return head, history
