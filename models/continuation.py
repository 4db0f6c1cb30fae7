"""Training that starts where an earlier model of the same kind ended.

The weights are read from the earlier SavedModel's checkpoint, where `BackboneModel.weights`
lists them: the network's, then each head's. The regularised head in front of a frozen
network is fitted to the one optimum of a convex loss, so there the start only decides how soon
it is reached; a block, or the paper's head, goes on from what it has learnt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from models.boundary import CutNetwork, Part
from models.hyperparameters import TrainingParams
from models.input_gate import GATE_VARIABLES
from models.lending import weight_keys
from schema import contract

_VALUE: Final = "/.ATTRIBUTES/VARIABLE_VALUE"


class NotContinuableError(Exception):
    """The reason why training can't go on, as a clause that ends a sentence."""


@dataclass(frozen=True)
class EarlierModel:
    """The model that an earlier training left.

    Attributes:
        classes: names in the order of the probabilities.
        recipe: fields of TrainingParams.
        weights: as `BackboneModel.weights` lists them.
    """

    classes: tuple[str, ...]
    recipe: Mapping[str, Any]
    weights: Sequence[np.ndarray]


@dataclass(frozen=True)
class Start:
    """Weights that fit what is about to be trained.

    Attributes:
        suffix: of the suffix's variables.
        heads: head's name -> of its variables.
    """

    suffix: Sequence[np.ndarray]
    heads: Mapping[str, Sequence[np.ndarray]]

    def put_into_suffix(self, network: Part) -> None:
        """Put the weights into the part that trains."""
        _put(network.suffix.variables, self.suffix)

    def put_into_head(self, name: str, head: keras.Model) -> None:
        """Give a head the weights of the earlier head of that name."""
        # The others are states of random generators.
        pairs = zip(head.variables, self.heads[name], strict=True)
        chosen = [(variable, value) for variable, value in pairs if variable.trainable]
        _put([variable for variable, _ in chosen], [value for _, value in chosen])


def read_earlier(model_dir: str, run_dir: str) -> EarlierModel:
    """Read an earlier model.

    Args:
        model_dir: folder of its SavedModel, local or remote.
        run_dir: Trainer's `model_run` beside it.

    Raises:
        NotContinuableError: a file is gone, or isn't what this version writes.
    """
    try:
        reader = tf.train.load_checkpoint(os.path.join(model_dir, "variables", "variables"))
        weights = [reader.get_tensor(key) for key in weight_keys(reader)]
        classes = reader.get_tensor(f"class_names{_VALUE}")
        with tf.io.gfile.GFile(os.path.join(run_dir, contract.TRAINING_FILE)) as file:
            recipe = json.load(file)
    except (tf.errors.OpError, KeyError, ValueError) as error:
        raise NotContinuableError(f"what it left can't be read ({error})") from error
    return EarlierModel(tuple(name.decode() for name in classes), recipe, weights)


def start_from(
    earlier: EarlierModel,
    network: CutNetwork,
    heads: Mapping[str, keras.Model],
    params: TrainingParams,
    classes: Sequence[str],
) -> Start:
    """Find the weights to start with.

    Args:
        earlier: the model.
        network: that is about to be trained, with its pre-trained weights.
        heads: those that are about to be trained, in their order; only shapes count.
        params: the recipe, resolved.
        classes: names in the order of the probabilities.

    Raises:
        NotContinuableError: other classes, another recipe, or other frozen weights.
    """
    if earlier.classes != tuple(classes):
        raise NotContinuableError(f"its classes are {', '.join(earlier.classes)}, in this order")
    wanted = params.model_dump(mode="json")
    for field in ("boundary", "scaling", "head.kind", "head.taps"):
        before, now = _field(earlier.recipe, field), _field(wanted, field)
        if before != now:
            raise NotContinuableError(f"its {field} is {before!r}, and now it is {now!r}")
    places = {"network": network.maps.variables}
    places |= {name: head.variables for name, head in heads.items()}
    shapes = [tuple(v.shape) for variables in places.values() for v in variables]
    # Behind them come the input gate's, where it had one: that is fitted anew.
    gate = len(earlier.weights) - len(shapes)
    same = shapes == [weight.shape for weight in earlier.weights[: len(shapes)]]
    if not same or gate not in (0, GATE_VARIABLES):
        raise NotContinuableError("its weights have other shapes")
    values: dict[str, Sequence[np.ndarray]] = {}
    first = 0
    for name, variables in places.items():
        values[name] = earlier.weights[first : first + len(variables)]
        first += len(variables)
    return Start(
        _of_suffix(network, values.pop("network")),
        values,
    )


def _of_suffix(network: CutNetwork, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the suffix's share of the network's weights; the rest has to be what it is now."""
    trained = {id(variable) for variable in network.suffix.variables}
    found = {}
    for variable, value in zip(network.maps.variables, values, strict=True):
        if id(variable) in trained:
            found[id(variable)] = value
        elif not np.array_equal(np.asarray(variable), value):
            raise NotContinuableError("it stands on other pre-trained weights")
    return [found[id(variable)] for variable in network.suffix.variables]


def _field(fields: Mapping[str, Any], name: str) -> Any:
    value: Any = fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _put(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
