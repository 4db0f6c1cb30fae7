"""Cuts a network into a frozen prefix and a trained suffix at a configured boundary.

    image -> prefix -> cached features -> suffix -> pooled taps -> head

The prefix runs once an image and its output is an artifact. Where the boundary is
`input` the prefix only hands the image on and everything trains, as in the paper;
where it is `head` the suffix only hands the pooled vectors on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import keras

from models.backbones import (
    BOUNDARY_HEAD,
    BOUNDARY_INPUT,
    Backbone,
    Scaling,
    build_network,
    get_backbone,
    load_weights,
)
from schema import contract
from schema.errors import InputError

if TYPE_CHECKING:
    from keras import KerasTensor

# Names of the pooled taps, in the order in which a head concatenates them.
TAP_PENULTIMATE: Final = "penultimate"
TAP_LAST: Final = "last"
# Name of the cached tensor where the boundary is a block or the input.
BOUNDARY_MAP: Final = "boundary"


@dataclass(frozen=True)
class FeatureSpec:
    """One cached tensor of one image.

    Attributes:
        shape: without the batch dimension.
        dtype: NumPy name; pooled vectors are float32, maps float16 (half the disk, and
            their relative error of 5e-4 is far below what a view change makes), images
            uint8.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class CutNetwork:
    """A network in two parts.

    Attributes:
        prefix: image [batch, 256, 256, 1] -> {feature name: tensor}.
        suffix: {feature name: tensor} -> {tap name: float32 [batch, channels]}.
        features: what the prefix returns, by name.
    """

    prefix: keras.Model
    suffix: keras.Model
    features: dict[str, FeatureSpec]


def check_boundary(backbone: Backbone, boundary: str) -> None:
    """Raises InputError where the backbone has no such boundary."""
    if boundary not in backbone.boundaries:
        raise InputError(
            f"boundary: {boundary!r} is none of {backbone.name}'s; "
            f"it has {', '.join(backbone.boundaries)}."
        )


def cut(network: keras.Model, backbone: Backbone, boundary: str) -> CutNetwork:
    """Cuts the network at the boundary.

    Args:
        network: what `build_network` returned; its layers are shared, not copied.
        backbone: its table entry.
        boundary: one of `backbone.boundaries`.

    Raises:
        InputError: the backbone has no such boundary.
    """
    check_boundary(backbone, boundary)
    if boundary == BOUNDARY_HEAD:
        return _cut_behind_pooling(network, backbone)
    if boundary == BOUNDARY_INPUT:
        return _cut_at_input(network, backbone)
    return _cut_at_block(network, backbone, boundary)


def load_network(
    backbone: str, scaling: Scaling | None, boundary: str, backbone_dir: str
) -> CutNetwork:
    """Rebuilds and cuts a network from the weights that PretrainedBackbone stored.

    Args:
        backbone: name in the table.
        scaling: overrides the backbone's input scaling; None for its own.
        boundary: one of its boundaries.
        backbone_dir: holds `backbone.weights.h5`.

    Raises:
        InputError: there is no such backbone or boundary.
    """
    row = get_backbone(backbone)
    network = build_network(row, scaling)
    load_weights(network, os.path.join(backbone_dir, contract.BACKBONE_WEIGHTS_FILE))
    return cut(network, row, boundary)


def _tap_tensors(network: keras.Model, backbone: Backbone) -> dict[str, KerasTensor]:
    return {
        TAP_PENULTIMATE: network.get_layer(backbone.penultimate).input,
        TAP_LAST: network.output,
    }


def _pool(tensors: dict[str, KerasTensor]) -> dict[str, KerasTensor]:
    return {
        name: keras.layers.GlobalAveragePooling2D(name=f"pool_{name}", dtype="float32")(tensor)
        for name, tensor in tensors.items()
    }


def _cut_behind_pooling(network: keras.Model, backbone: Backbone) -> CutNetwork:
    taps = _pool(_tap_tensors(network, backbone))
    inputs = {name: keras.Input(tap.shape[1:], name=name) for name, tap in taps.items()}
    identity = {name: keras.layers.Identity()(tensor) for name, tensor in inputs.items()}
    return CutNetwork(
        prefix=keras.Model(network.input, taps),
        suffix=keras.Model(inputs, identity),
        features={name: FeatureSpec(tuple(t.shape[1:]), "float32") for name, t in taps.items()},
    )


def _cut_at_input(network: keras.Model, backbone: Backbone) -> CutNetwork:
    shape = (contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1)
    image = keras.Input(shape, name="grey")
    handed_on = {BOUNDARY_MAP: keras.layers.Identity()(image)}
    whole = keras.Model(network.input, _pool(_tap_tensors(network, backbone)))
    feature = keras.Input(shape, name=BOUNDARY_MAP)
    return CutNetwork(
        prefix=keras.Model(image, handed_on),
        suffix=keras.Model({BOUNDARY_MAP: feature}, whole(feature)),
        features={BOUNDARY_MAP: FeatureSpec(shape, "uint8")},
    )


def _cut_at_block(network: keras.Model, backbone: Backbone, boundary: str) -> CutNetwork:
    tensor = network.get_layer(backbone.blocks[boundary]).input
    rest = keras.Model(tensor, _pool(_tap_tensors(network, backbone)))
    shape = tuple(tensor.shape[1:])
    feature = keras.Input(shape, name=BOUNDARY_MAP)
    return CutNetwork(
        prefix=keras.Model(network.input, {BOUNDARY_MAP: tensor}),
        suffix=keras.Model({BOUNDARY_MAP: feature}, rest(feature)),
        features={BOUNDARY_MAP: FeatureSpec(shape, "float16")},
    )
