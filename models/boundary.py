"""Cuts a network into a frozen prefix and a trained suffix at a configured boundary.

    image -> prefix -> cached features -> suffix -> pooled taps -> head

The prefix runs once an image and its output is an artifact. Where the boundary is
`input` the prefix only hands the image on and everything trains, as in the paper;
where it is `head` the suffix only hands the pooled vectors on. In between, the prefix
hands on the feature map at the boundary and the pooled taps that lie before it.

One artifact can serve several boundaries: a feature's name says what it is, and a
reader takes those that its own cut needs.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import keras

from common.errors import InputError
from models.backbones import (
    BOUNDARY_HEAD,
    BOUNDARY_INPUT,
    GRID,
    TAP_LAST,
    Backbone,
    Pool,
    Scaling,
    build_network,
    get_backbone,
    load_weights,
)
from models.cost import multiply_adds
from models.stored_backbone import read_image_size
from schema import contract

if TYPE_CHECKING:
    from keras import KerasTensor

_MAP_PREFIX: Final = "map_"
# Layers of this name pool (see `models.precision`).
POOL_PREFIX: Final = "pool_"
_POOLING: Final = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


@dataclass(frozen=True)
class FeatureSpec:
    """One cached tensor of one image.

    Attributes:
        shape: without the batch dimension.
        dtype: NumPy name; pooled vectors are float32, maps float16 (half the disk, and
            their relative error of 5e-4 is far below what an augmentation changes), images
            uint8.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class FrozenPart:
    """The part that runs once an image.

    Attributes:
        prefix: image [batch, 256, 256, 1] -> {feature name: tensor}.
        features: what the prefix returns, by name.
    """

    prefix: keras.Model
    features: dict[str, FeatureSpec]


@dataclass(frozen=True)
class Part(abc.ABC):
    """A backbone's network as training and export see it.

    Attributes:
        backbone: its name in the table.
        features: what the cache has of an image, by name.
        suffix: {feature name: tensor} -> {tap name: float32 [batch, channels]}.
        pools: tap name -> how its map is pooled.
    """

    backbone: str
    features: Mapping[str, FeatureSpec]
    suffix: keras.Model
    pools: Mapping[str, Pool]

    @property
    def parts(self) -> Mapping[str, Part]:
        """Backbone -> its network: here the one (`models.fusion` has several)."""
        return {self.backbone: self}

    def with_parts(self, parts: Mapping[str, Part]) -> Part:
        """Return the network that takes this one's place."""
        return parts[self.backbone]

    @property
    @abc.abstractmethod
    def multiply_adds(self) -> int:
        """The cost of the whole network, for one image."""

    @property
    @abc.abstractmethod
    def variables(self) -> Sequence[keras.Variable]:
        """The variables of both parts, where they are in memory."""

    @abc.abstractmethod
    def feature_maps(self, pixels: Any) -> dict[str, Any]:
        """Grey levels float32 [batch, 256, 256, 1] -> {tap: map [batch, h, w, channels]}."""

    def taps(self, features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """{backbone: {feature: float32 [batch, ...]}} -> {tap: float32 [batch, channels]}."""
        taps: dict[str, Any] = self.suffix(dict(features[self.backbone]), training=False)
        return taps

    def pooled(self, maps: Mapping[str, Any]) -> dict[str, Any]:
        """Pool what `feature_maps` returned into {tap name: float32 [batch, channels]}."""
        return {tap: pool(tap, maps[tap], how) for tap, how in self.pools.items()}


@dataclass(frozen=True)
class CutNetwork(Part):
    """A network in two parts.

    Attributes:
        prefix: see `FrozenPart`.
        maps: both parts up to the pooling: image [batch, 256, 256, 1] -> {tap name: float32
            [batch, height, width, channels]}. Its layers are theirs, so it is trained with
            the suffix.
    """

    prefix: keras.Model
    maps: keras.Model

    @property
    def multiply_adds(self) -> int:
        """The cost of both parts, for one image."""
        return multiply_adds(self.prefix, self.suffix)

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of both parts."""
        variables: list[keras.Variable] = self.maps.variables
        return variables

    def feature_maps(self, pixels: Any) -> dict[str, Any]:
        """Grey levels float32 [batch, 256, 256, 1] -> {tap: map [batch, h, w, channels]}."""
        maps: dict[str, Any] = self.maps(pixels, training=False)
        return maps


def map_name(boundary: str) -> str:
    """Name of the feature that holds the map (or the image) at a boundary."""
    return _MAP_PREFIX + boundary


def check_boundary(backbone: Backbone, boundary: str) -> None:
    """Raise InputError where the backbone has no such boundary."""
    if boundary not in backbone.boundaries:
        raise InputError(
            f"boundary: {boundary!r} is none of {backbone.name}'s; "
            f"it has {', '.join(backbone.boundaries)}."
        )


def check_taps(backbone: Backbone, taps: Iterable[str]) -> None:
    """Raise InputError where the backbone lacks one of the taps."""
    for tap in taps:
        if tap not in backbone.all_taps:
            raise InputError(
                f"taps: {tap!r} is none of {backbone.name}'s; "
                f"it has {', '.join(backbone.all_taps)}."
            )


def freeze(
    network: keras.Model, backbone: Backbone, boundaries: Iterable[str], taps: Sequence[str]
) -> FrozenPart:
    """Build the part before all of several boundaries, with everything that any of them needs.

    Args:
        network: what `build_network` returned; its layers are shared, not copied.
        backbone: its table entry.
        boundaries: of `backbone.boundaries`.
        taps: of `backbone.all_taps`; those that the heads use.

    Raises:
        InputError: the backbone has no such boundary or tap.
    """
    wanted = list(dict.fromkeys(boundaries))
    for boundary in wanted:
        check_boundary(backbone, boundary)
    check_taps(backbone, taps)
    outputs: dict[str, KerasTensor] = {}
    for boundary in wanted:
        outputs |= _frozen_tensors(network, backbone, boundary, taps)
    features = {name: _spec(name, tensor) for name, tensor in outputs.items()}
    return FrozenPart(keras.Model(network.input, outputs), features)


def cut(
    network: keras.Model, backbone: Backbone, boundary: str, taps: Sequence[str] | None = None
) -> CutNetwork:
    """Cuts the network at the boundary.

    Args:
        network: what `build_network` returned; its layers are shared, not copied.
        backbone: its table entry.
        boundary: one of `backbone.boundaries`.
        taps: what the suffix returns; the backbone's `head_taps` where None.

    Raises:
        InputError: the backbone has no such boundary or tap.
    """
    taps = backbone.head_taps if taps is None else taps
    frozen = freeze(network, backbone, [boundary], taps)
    suffix = _suffix(network, backbone, boundary, taps)
    maps = keras.Model(network.input, {tap: _tap_tensor(network, backbone, tap) for tap in taps})
    pools = {tap: _pool(backbone, tap) for tap in taps}
    return CutNetwork(backbone.name, frozen.features, suffix, pools, frozen.prefix, maps)


def load_network(
    backbone: str,
    scaling: Scaling | None,
    boundary: str,
    backbone_dir: str,
    taps: Sequence[str] | None = None,
) -> CutNetwork:
    """Rebuilds and cuts a network from the weights that PretrainedBackbone stored.

    Args:
        backbone: name in the table.
        scaling: overrides the backbone's input scaling; None for its own.
        boundary: one of its boundaries.
        backbone_dir: what `models.pretrained.save_pretrained` wrote.
        taps: as in `cut`.

    Raises:
        InputError: there is no such backbone, boundary or tap.
    """
    row = get_backbone(backbone)
    return cut(load_whole(row, scaling, backbone_dir), row, boundary, taps)


def load_frozen(
    backbone: str,
    scaling: Scaling | None,
    boundaries: Sequence[str],
    backbone_dir: str,
    taps: Sequence[str],
) -> FrozenPart:
    """As `load_network`, but for what lies before several boundaries (see `freeze`)."""
    row = get_backbone(backbone)
    return freeze(load_whole(row, scaling, backbone_dir), row, boundaries, taps)


def load_whole(row: Backbone, scaling: Scaling | None, backbone_dir: str) -> keras.Model:
    """Rebuild a network from the weights that PretrainedBackbone stored, uncut.

    Args:
        row: of the table.
        scaling: overrides the backbone's input scaling; None for its own.
        backbone_dir: what `models.pretrained.save_pretrained` wrote.
    """
    network = build_network(row, scaling, read_image_size(backbone_dir))
    load_weights(network, os.path.join(backbone_dir, contract.BACKBONE_WEIGHTS_FILE))
    return network


def _spec(name: str, tensor: KerasTensor) -> FeatureSpec:
    shape = tuple(tensor.shape[1:])
    if name == map_name(BOUNDARY_INPUT):
        return FeatureSpec(shape, "uint8")
    return FeatureSpec(shape, "float16" if name.startswith(_MAP_PREFIX) else "float32")


def _boundary_tensor(network: keras.Model, backbone: Backbone, boundary: str) -> KerasTensor:
    if boundary == BOUNDARY_INPUT:
        return network.input
    return network.get_layer(backbone.blocks[boundary]).input


def _tap_tensor(network: keras.Model, backbone: Backbone, tap: str) -> KerasTensor:
    if tap == TAP_LAST:
        return network.output
    return network.get_layer(backbone.taps[tap].before).input


def _pool(backbone: Backbone, tap: str) -> Pool:
    return "avg" if tap == TAP_LAST else backbone.taps[tap].pool


def pool(tap: str, feature_map: Any, how: Pool) -> Any:
    """Pool a feature map.

    Args:
        tap: its name.
        feature_map: tensor or KerasTensor [batch, height, width, channels].
        how: see `models.backbones`.

    Returns:
        The same kind, float32 [batch, channels]; of a grid, [batch, GRID * GRID * channels].

    Raises:
        ValueError: a map that doesn't fall into GRID x GRID cells of one size.
    """
    # float32 whatever the policy: pooled vectors are what heads and caches hold.
    name = f"{POOL_PREFIX}{tap}"
    if how != "grid":
        return _POOLING[how](name=name, dtype="float32")(feature_map)
    height, width = feature_map.shape[1:3]
    if height % GRID or width % GRID:
        raise ValueError(f"{tap}: {height} x {width} is no grid of {GRID} x {GRID} equal cells")
    cell = (height // GRID, width // GRID)
    cells = keras.layers.AveragePooling2D(cell, name=f"{name}_cells", dtype="float32")
    return keras.layers.Flatten(name=name, dtype="float32")(cells(feature_map))


def _pooled(
    network: keras.Model, backbone: Backbone, taps: Iterable[str]
) -> dict[str, KerasTensor]:
    return {
        tap: pool(tap, _tap_tensor(network, backbone, tap), _pool(backbone, tap)) for tap in taps
    }


def _taps_before(
    network: keras.Model, backbone: Backbone, boundary: str, taps: Sequence[str]
) -> list[str]:
    """Those that the frozen part already knows."""
    if boundary == BOUNDARY_HEAD:
        return list(taps)
    if boundary == BOUNDARY_INPUT:
        return []
    # Keras keeps the layers in the order of the data flow.
    order = [layer.name for layer in network.layers]
    limit = order.index(backbone.blocks[boundary])
    return [
        tap for tap in taps if tap != TAP_LAST and order.index(backbone.taps[tap].before) <= limit
    ]


def _frozen_tensors(
    network: keras.Model, backbone: Backbone, boundary: str, taps: Sequence[str]
) -> dict[str, KerasTensor]:
    tensors = _pooled(network, backbone, _taps_before(network, backbone, boundary, taps))
    if boundary == BOUNDARY_INPUT:
        # A model that hands its input on needs a layer in between.
        tensors[map_name(boundary)] = keras.layers.Identity(name="image")(network.input)
    elif boundary != BOUNDARY_HEAD:
        tensors[map_name(boundary)] = _boundary_tensor(network, backbone, boundary)
    return tensors


def cached_taps(channels: Mapping[str, int]) -> keras.Model:
    """Build the suffix of a network that is cut at `head`: it hands the pooled vectors on.

    Args:
        channels: tap -> how many it has.
    """
    inputs = {tap: keras.Input((size,), name=tap) for tap, size in channels.items()}
    return keras.Model(inputs, {tap: _handed_on(tap, inputs[tap]) for tap in channels})


def _handed_on(tap: str, tensor: KerasTensor) -> KerasTensor:
    return keras.layers.Identity(name=f"cached_{tap}")(tensor)


def _suffix(
    network: keras.Model, backbone: Backbone, boundary: str, taps: Sequence[str]
) -> keras.Model:
    before = _taps_before(network, backbone, boundary, taps)
    pooled = _pooled(network, backbone, taps)
    inputs = {tap: keras.Input(pooled[tap].shape[1:], name=tap) for tap in before}
    outputs = {tap: _handed_on(tap, inputs[tap]) for tap in before}
    later = [tap for tap in taps if tap not in before]
    if boundary != BOUNDARY_HEAD and not later:
        raise InputError(
            f"head.taps: all of {', '.join(taps)} lie before the boundary {boundary!r} of "
            f"{backbone.name}, so nothing behind it would train; add {TAP_LAST!r}."
        )
    if boundary != BOUNDARY_HEAD:
        tensor = _boundary_tensor(network, backbone, boundary)
        name = map_name(boundary)
        inputs[name] = keras.Input(tensor.shape[1:], name=name)
        rest = keras.Model(tensor, {tap: pooled[tap] for tap in later})
        outputs |= rest(inputs[name])
    return keras.Model(inputs, {tap: outputs[tap] for tap in taps})
