"""Cut networks: both parts together are the whole, and only the suffix trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from common.errors import InputError
from models.backbones import BACKBONES, Backbone, get_backbone
from models.boundary import CutNetwork, FeatureSpec, check_boundary, cut, freeze, pool

IMAGE = FeatureSpec((256, 256, 1), "uint8")


def _map(boundary: str, *shape: int, **pooled: int) -> dict[str, FeatureSpec]:
    return {f"map_{boundary}": FeatureSpec(shape, "float16")} | _pooled(**pooled)


def _pooled(**channels: int) -> dict[str, FeatureSpec]:
    return {name: FeatureSpec((size,), "float32") for name, size in channels.items()}


VGG16 = {"block3": 256, "block3_grid": 16 * 256, "block4": 512, "block4_max": 512}
XCEPTION = {"block4": 728, "block4_max": 728, "block4_grid": 16 * 728}
XCEPTION |= {"block8": 728, "block11": 728, "block11_max": 728, "block13": 1024}
DENSENET = {"conv3": 256, "conv4_16": 768, "conv4_16_max": 768, "conv4_16_grid": 16 * 768}
DENSENET |= {"conv4": 512}
# All taps are asked for; those before the boundary are cached with it.
SPECS = {
    ("vgg16", "input"): {"map_input": IMAGE},
    ("vgg16", "block4"): _map("block4", 32, 32, 256, block3=256, block3_grid=16 * 256),
    ("vgg16", "block5"): _map("block5", 16, 16, 512, **VGG16),
    ("vgg16", "head"): _pooled(**VGG16, last=512),
    ("xception", "input"): {"map_input": IMAGE},
    ("xception", "block14"): _map("block14", 8, 8, 1024, **XCEPTION),
    ("xception", "head"): _pooled(**XCEPTION, last=2048),
    ("densenet121", "input"): {"map_input": IMAGE},
    ("densenet121", "conv4"): _map("conv4", 16, 16, 256, conv3=256),
    ("densenet121", "conv5"): _map("conv5", 8, 8, 512, **DENSENET),
    ("densenet121", "head"): _pooled(**DENSENET, last=1024),
}
# How the names of the layers begin that train; "" is every layer, () is none.
TRAINED = {
    ("vgg16", "input"): ("",),
    ("vgg16", "block4"): ("block4_", "block5_"),
    ("vgg16", "block5"): ("block5_",),
    ("vgg16", "head"): (),
    ("xception", "input"): ("",),
    ("xception", "block14"): ("block14_",),
    ("xception", "head"): (),
    ("densenet121", "input"): ("",),
    ("densenet121", "conv4"): ("conv4_", "pool4_", "conv5_", "bn"),
    ("densenet121", "conv5"): ("conv5_", "bn"),
    ("densenet121", "head"): (),
}


@dataclass
class Whole:
    """A network, an image, and what the uncut network makes of it."""

    row: Backbone
    network: keras.Model
    image: np.ndarray
    taps: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=["miniature", pytest.param("real", marks=pytest.mark.long)])
def whole(
    request: pytest.FixtureRequest,
    real_network: Callable[[str], keras.Model],
    miniature_network: Callable[[str], keras.Model],
) -> Callable[[str], Whole]:
    """Name -> the uncut network; each computes once."""
    done: dict[str, Whole] = {}
    networks = {"real": real_network, "miniature": miniature_network}[request.param]

    def call(name: str) -> Whole:
        if name not in done:
            row, network = get_backbone(name), networks(name)
            image = np.random.default_rng(1).integers(0, 256, (2, 256, 256, 1))
            image = image.astype(np.float32)
            tensors = {n: network.get_layer(tap.before).input for n, tap in row.taps.items()}
            tensors["last"] = network.output
            maps = keras.Model(network.input, tensors)(image, training=False)
            pools = {n: tap.pool for n, tap in row.taps.items()} | {"last": "avg"}
            taps = {}
            for tap, values in maps.items():
                taps[tap] = _by_hand(values.numpy().astype(np.float64), pools[tap])
            done[name] = Whole(row, network, image, taps)
        return done[name]

    return call


def _by_hand(wide: np.ndarray, how: str) -> np.ndarray:
    cells = [part for rows in np.split(wide, 4, axis=1) for part in np.split(rows, 4, axis=2)]
    whole: np.ndarray = {
        "avg": lambda: wide.mean(axis=(1, 2)),
        "max": lambda: wide.max(axis=(1, 2)),
        "grid": lambda: np.concatenate([cell.mean(axis=(1, 2)) for cell in cells], axis=-1),
    }[how]()
    return whole


@pytest.mark.parametrize("shape", [(6, 8), (8, 6)])
def test_a_grid_has_cells_of_one_size(shape: tuple[int, int]) -> None:
    feature_map = np.zeros((1, *shape, 3), np.float32)
    with pytest.raises(ValueError, match=f"block4_grid: {shape[0]} x {shape[1]} is no grid of 4"):
        pool("block4_grid", feature_map, "grid")


def test_every_boundary_of_the_table_is_tested_here() -> None:
    names = ("vgg16", "xception", "densenet121")
    assert set(SPECS) == {(n, b) for n in names for b in BACKBONES[n].boundaries}


@pytest.mark.parametrize(("name", "boundary"), SPECS)
def test_both_parts_together_are_the_whole_network(
    name: str, boundary: str, whole: Callable[[str], Whole]
) -> None:
    uncut = whole(name)
    parts = cut(uncut.network, uncut.row, boundary, uncut.row.all_taps)
    features = parts.prefix(uncut.image, training=False)
    assert {k: tuple(v.shape[1:]) for k, v in features.items()} == {
        k: spec.shape for k, spec in parts.features.items()
    }
    _assert_taps(parts.suffix(features, training=False), uncut.taps, 1e-5)

    stored = {k: v.numpy().astype(parts.features[k].dtype) for k, v in features.items()}
    back = {k: v.astype(np.float32) for k, v in stored.items()}
    _assert_taps(parts.suffix(back, training=False), uncut.taps, 2e-3)


def _assert_taps(
    taps: dict[str, keras.KerasTensor], expected: dict[str, np.ndarray], tolerance: float
) -> None:
    """Compares; the tolerance is relative to the tap's largest channel."""
    assert set(taps) == set(expected)
    for name, values in expected.items():
        largest = np.abs(values).max()
        assert largest > 1e-6, "an all-zero tap would prove nothing"
        assert taps[name].dtype == "float32"
        assert np.abs(taps[name].numpy() - values).max() <= tolerance * largest


@pytest.mark.parametrize(("name", "boundary"), SPECS)
def test_a_boundary_has_its_features_and_only_what_lies_behind_it_trains(
    name: str, boundary: str, real_network: Callable[[str], keras.Model]
) -> None:
    row, network = get_backbone(name), real_network(name)
    parts = cut(network, row, boundary, row.all_taps)
    assert parts.features == SPECS[name, boundary]
    expected = {
        id(variable)
        for layer in network.layers
        if layer.name.startswith(TRAINED[name, boundary])
        for variable in layer.trainable_variables
    }
    assert {id(variable) for variable in parts.suffix.trainable_variables} == expected
    assert bool(expected) == (boundary != "head")
    if boundary == "input":
        assert len(expected) == len(network.trainable_variables)


def test_training_the_suffix_leaves_the_prefix_as_it_was(
    tiny_cut: Callable[..., CutNetwork],
) -> None:
    parts = tiny_cut("block2")
    frozen = [weight.copy() for weight in parts.prefix.get_weights()]
    trained = [weight.copy() for weight in parts.suffix.get_weights()]
    rng = np.random.default_rng(0)
    features = {name: rng.random((4, *spec.shape)) for name, spec in parts.features.items()}
    assert set(features) == {"map_block2", "block1"}
    output = keras.layers.Dense(1)(parts.suffix.output["last"])
    model = keras.Model(parts.suffix.input, output)
    model.compile("sgd", "mse")
    model.fit(features, np.ones((4, 1)), verbose=0)
    for before, after in zip(frozen, parts.prefix.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    changed = zip(trained, parts.suffix.get_weights(), strict=True)
    assert any((before != after).any() for before, after in changed)


@pytest.mark.parametrize("boundary", ["block14", "", "Input", "block4_conv1"])
def test_unknown_boundary_names_the_known_ones(
    boundary: str, miniature_network: Callable[[str], keras.Model]
) -> None:
    row = get_backbone("vgg16")
    with pytest.raises(InputError) as caught:
        cut(miniature_network("vgg16"), row, boundary)
    for part in (repr(boundary), "vgg16", "input, block4, block5, head"):
        assert part in str(caught.value)
    with pytest.raises(InputError):
        check_boundary(row, boundary)
    check_boundary(row, "block5")


def test_one_frozen_part_serves_several_boundaries(whole: Callable[[str], Whole]) -> None:
    uncut = whole("vgg16")
    taps = ("block3", "block4_max", "last")
    boundaries = ("input", "block5", "head")
    together = freeze(uncut.network, uncut.row, boundaries, taps)
    assert set(together.features) == {"map_input", "map_block5", *taps}
    features = together.prefix(uncut.image, training=False)
    expected = {name: uncut.taps[name] for name in taps}
    for boundary in boundaries:
        alone = cut(uncut.network, uncut.row, boundary, taps)
        assert alone.features.items() <= together.features.items()
        own = {name: features[name] for name in alone.features}
        _assert_taps(alone.suffix(own, training=False), expected, 1e-5)


def test_unknown_tap_names_the_known_ones(miniature_network: Callable[[str], keras.Model]) -> None:
    with pytest.raises(
        InputError, match=r"'block9'.*vgg16.*block3, block3_grid, block4, block4_max, last"
    ):
        cut(miniature_network("vgg16"), get_backbone("vgg16"), "head", ["last", "block9"])


def test_taps_that_all_lie_before_the_boundary_are_refused(
    miniature_network: Callable[[str], keras.Model],
) -> None:
    with pytest.raises(InputError, match=r"block3.*'block5' of vgg16.*add 'last'"):
        cut(miniature_network("vgg16"), get_backbone("vgg16"), "block5", ["block3"])
