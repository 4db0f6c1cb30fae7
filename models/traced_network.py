"""A frozen network's functions, traced once, and kept beside its weights.

Another head on the same network needs no network: it is fitted to cached features, and what is
served is the head behind functions that are the same for all heads on the same taps. So
PretrainedBackbone traces these, one for each set of taps that a head may stand on, and
`models.lent_network` has them put into models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import keras
import tensorflow as tf

from models.backbones import BOUNDARY_HEAD, Pool, Scaling, get_backbone
from models.boundary import CutNetwork, cut, load_whole
from models.preprocessing import PIXELS

# The function of a network that others call.
FEATURE_MAPS: Final = "feature_maps"
# Below the folder of the weights: a SavedModel, and in it what has to be known of its functions.
_FOLDER: Final = "traced"
_FACTS: Final = "functions.json"


@dataclass(frozen=True)
class TracedFunction:
    """The facts about a function that turns pixels into feature maps.

    Attributes:
        name: of the function in the SavedModel.
        scaling: what overrides the backbone's input scaling; None for its own.
        channels: tap -> how many it has once it is pooled.
        pools: tap -> how its map is pooled.
        weights: numbers of the variables that it reads, in the network's order.
        multiply_adds: of the network up to the taps, for one image.
    """

    name: str
    scaling: Scaling | None
    channels: dict[str, int]
    pools: dict[str, Pool]
    weights: list[int]
    multiply_adds: int


def traced_folder(backbone_dir: str) -> str:
    """Return the folder of the SavedModel.

    Args:
        backbone_dir: of the weights.
    """
    return os.path.join(backbone_dir, _FOLDER)


def keep(
    backbone: str,
    scaling: Scaling | None,
    taps: Iterable[Sequence[str]],
    backbone_dir: str,
    network: keras.Model | None = None,
) -> None:
    """Trace a network cut in front of its head, and keep the functions beside its weights.

    Args:
        backbone: name in the table.
        scaling: overrides the backbone's input scaling; None for its own.
        taps: sets of them; a head may stand on any one of these.
        backbone_dir: what `models.pretrained.save_pretrained` wrote.
        network: what it returned; built again where None. Of use only where `scaling` is None.

    Raises:
        InputError: there is no such backbone or tap.
    """
    row = get_backbone(backbone)
    if network is None or scaling is not None:
        network = load_whole(row, scaling, backbone_dir)
    cuts = [cut(network, row, BOUNDARY_HEAD, each) for each in dict.fromkeys(map(tuple, taps))]
    saved = _Functions(cuts)
    # Each is called by its name: TensorFlow would make a lone one a signature, too.
    tf.saved_model.save(saved, traced_folder(backbone_dir), signatures={})
    facts = [
        TracedFunction(
            name,
            scaling,
            {tap: spec.shape[0] for tap, spec in part.features.items()},
            dict(part.pools),
            saved.numbers_of(part),
            part.multiply_adds,
        )
        for name, part in saved.parts.items()
    ]
    path = os.path.join(traced_folder(backbone_dir), _FACTS)
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump([asdict(each) for each in facts], file)


def find_traced(
    backbone_dir: str, scaling: Scaling | None, taps: Sequence[str]
) -> TracedFunction | None:
    """Look among what `keep` wrote for the function of these taps; None where there is none.

    Args:
        backbone_dir: of the weights.
        scaling: with which the network is to see the image.
        taps: in the order in which a head takes them.
    """
    path = os.path.join(traced_folder(backbone_dir), _FACTS)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        kept = [TracedFunction(**fields) for fields in json.load(file)]
    fitting = (each for each in kept if each.scaling == scaling and [*each.channels] == [*taps])
    return next(fitting, None)


def trace(maps: Any) -> Any:
    """Trace what turns pixels into feature maps once, as a SavedModel holds it.

    Args:
        maps: pixels -> {tap: map}.
    """
    return tf.function(lambda pixels: maps(pixels), input_signature=[PIXELS], autograph=False)


class _Functions(tf.Module):
    """The object that is kept: a function for each set of taps, and all that they read."""

    def __init__(self, cuts: Sequence[CutNetwork]) -> None:
        super().__init__()
        # Not tracked: a graph of 400 Keras layers takes longer to save than the weights.
        self._untracked = _Untracked({f"{FEATURE_MAPS}_{n}": each for n, each in enumerate(cuts)})
        self.weights = [variable.value for variable in self._untracked.variables]
        for name, part in self.parts.items():
            setattr(self, name, trace(part.feature_maps))

    @property
    def parts(self) -> dict[str, CutNetwork]:
        """Function -> its network."""
        return self._untracked.parts

    def numbers_of(self, part: CutNetwork) -> list[int]:
        """Return where the network's variables are in `weights`, in the network's order."""
        places = {id(v): number for number, v in enumerate(self._untracked.variables)}
        return [places[id(variable)] for variable in part.variables]


@dataclass(frozen=True)
class _Untracked:
    """Networks that share layers. tf.Module doesn't look into a plain object."""

    parts: dict[str, CutNetwork]

    @property
    def variables(self) -> list[keras.Variable]:
        """All of them, each once."""
        return list({id(v): v for part in self.parts.values() for v in part.variables}.values())
