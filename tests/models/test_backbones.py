"""The table of backbones against keras.applications, and the paper's table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import keras
import numpy as np
import pytest

from common.errors import InputError
from models.backbones import BACKBONES, PaperRecipe, build_network, get_backbone, load_weights

if TYPE_CHECKING:
    RealNetwork = Callable[[str], keras.Model]

NAMES = ["vgg16", "xception", "densenet121"]
MODULES = {
    "vgg16": keras.applications.vgg16,
    "xception": keras.applications.xception,
    "densenet121": keras.applications.densenet,
}
SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


def _greys() -> np.ndarray:
    """Every grey level, as a float image [1, 256, 256, 1]."""
    levels = np.arange(256, dtype=np.float32)
    return np.broadcast_to(levels[None, :, None, None], (1, 256, 256, 1)).copy()


def _scaled(network: keras.Model, image: np.ndarray) -> np.ndarray:
    return keras.Model(network.input, network.get_layer("scaling").output)(image).numpy()


def test_the_table_holds_the_three_backbones_of_the_paper() -> None:
    assert set(NAMES) <= set(BACKBONES)
    assert all(get_backbone(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_row_says_how_many_parameters_there_are(name: str, real_network: RealNetwork) -> None:
    assert real_network(name).count_params() == get_backbone(name).parameters


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_the_preprocessing_that_keras_documents(
    name: str, real_network: RealNetwork
) -> None:
    image = _greys()
    expected = MODULES[name].preprocess_input(np.repeat(image, 3, axis=-1))
    np.testing.assert_allclose(_scaled(real_network(name), image), expected, rtol=0, atol=3e-5)


def test_scaling_can_be_overridden_with_the_papers(tiny_backbone: str) -> None:
    row = get_backbone(tiny_backbone)
    image = _greys()
    expected = np.repeat(image, 3, axis=-1) / 255
    np.testing.assert_allclose(_scaled(build_network(row, "unit"), image), expected, atol=1e-6)
    assert np.abs(_scaled(build_network(row), image) - expected).max() > 0.9


@pytest.mark.parametrize(
    ("name", "weights", "size"),
    [
        ("vgg16", "imagenet", 256),
        ("xception", "imagenet", 256),
        ("densenet121", "imagenet", 256),
        ("densenet121", "random", 256),
        ("densenet121", "densenet121_other_notop.h5", 256),
        ("densenet121", "densenet121_kermany_pediatric_notop.h5", 128),
    ],
)
def test_the_size_that_a_network_sees_is_that_of_its_weights(
    name: str, weights: str, size: int
) -> None:
    assert get_backbone(name).size_for(weights) == size


@pytest.mark.parametrize("size", [256, 128, 64])
def test_a_network_of_another_size_sees_the_means_of_squares(size: int, tiny_backbone: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 1)).astype(np.float32)
    network = build_network(get_backbone(tiny_backbone), image_size=size)
    assert network.input.shape == (None, 256, 256, 1)
    factor = 256 // size
    means = image.reshape(1, size, factor, size, factor, 1).mean(axis=(2, 4))
    expected = np.repeat(means / 127.5 - 1, 3, axis=-1)
    np.testing.assert_allclose(_scaled(network, image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [100, 512])
def test_a_size_that_does_not_divide_the_images_is_refused(size: int, tiny_backbone: str) -> None:
    with pytest.raises(ValueError, match="image_size"):
        build_network(get_backbone(tiny_backbone), image_size=size)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_grey_and_its_cuts_lie_in_network_order(
    name: str, real_network: RealNetwork
) -> None:
    row, network = get_backbone(name), real_network(name)
    assert network.name == name
    assert network.input.shape == (None, 256, 256, 1)
    assert len(network.output.shape) == 4
    order = [layer.name for layer in network.layers]
    places = [order.index(layer) for layer in row.blocks.values()]
    assert places == sorted(places)
    taps = [order.index(tap.before) for tap in row.taps.values()]
    assert taps == sorted(taps)
    assert set(row.head_taps) <= set(row.all_taps)
    assert row.boundaries == ("input", *row.blocks, "head")


IMAGENET_FILES = {
    "vgg16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "densenet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_file_is_the_one_that_is_published(name: str) -> None:
    assert get_backbone(name).imagenet_file == IMAGENET_FILES[name]


class _Asked(Exception):  # noqa: N818 - not an error
    pass


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_imagenet_file_is_what_keras_would_download(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras builds the network before it asks for the file."""

    def get_file(fname: str, origin: str, cache_subdir: str, file_hash: str) -> str:
        raise _Asked(fname, origin, cache_subdir, file_hash)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    application = getattr(keras.applications, get_backbone(name).application)
    with pytest.raises(_Asked) as asked:
        application(include_top=False, weights="imagenet")
    row = get_backbone(name)
    assert asked.value.args == (
        IMAGENET_FILES[name],
        row.imagenet_url,
        "models",
        row.imagenet_md5,
    )


@pytest.mark.parametrize("name", ["", "VGG16", "resnet50"])
def test_unknown_backbone_names_the_known_ones(name: str) -> None:
    with pytest.raises(InputError) as caught:
        get_backbone(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in NAMES)


# From the paper's text and, for the callbacks, its notebooks.
PAPER = {
    "vgg16": PaperRecipe(learning_rate=1e-5, batch_size=10, epochs=80),
    "xception": PaperRecipe(
        learning_rate=5e-4,
        batch_size=40,
        epochs=60,
        early_stopping_patience=30,
        plateau_patience=4,
    ),
    "densenet121": PaperRecipe(learning_rate=1e-5, batch_size=10, epochs=100),
}


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_the_papers(name: str) -> None:
    assert get_backbone(name).paper == PAPER[name]


def _write_legacy(path: Path, network: keras.Model) -> None:
    """Writes weights in the layout of keras.applications' files."""
    layers = [layer for layer in network.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = weight.numpy()


@pytest.fixture
def tiny(tiny_backbone: str) -> Callable[[], keras.Model]:
    """Builds a tiny network with weights of its own at each call."""
    return lambda: build_network(get_backbone(tiny_backbone))


@pytest.mark.parametrize("layout", ["keras.applications", "save_weights"])
def test_both_layouts_of_weights_load(
    layout: str, tiny: Callable[[], keras.Model], tmp_path: Path
) -> None:
    source, target = tiny(), tiny()
    if layout == "save_weights":
        path = tmp_path / "backbone.weights.h5"
        source.save_weights(path)
    else:
        path = tmp_path / "tiny_notop.h5"
        _write_legacy(path, source)
    load_weights(target, str(path))
    for loaded, written in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, written)


@pytest.mark.parametrize("name", ["tiny_notop.h5", "backbone.weights.h5"])
@pytest.mark.parametrize("fault", ["shapes", "layers", "no HDF5", "empty HDF5", "missing"])
def test_weights_that_do_not_fit_are_an_error_that_names_the_file(
    name: str, fault: str, tiny: Callable[[], keras.Model], tmp_path: Path
) -> None:
    path = tmp_path / name
    if fault == "no HDF5":
        path.write_text("<html>404</html>")
    elif fault == "empty HDF5":
        h5py.File(path, "w").close()
    elif fault != "missing":
        wrong = _wrong_network(tiny(), fault)
        if name.endswith(".weights.h5"):
            wrong.save_weights(path)
        else:
            _write_legacy(path, wrong)
    with pytest.raises(InputError) as caught:
        load_weights(tiny(), str(path))
    assert str(path) in str(caught.value)
    assert "tiny" in str(caught.value)


def _wrong_network(network: keras.Model, fault: str) -> keras.Model:
    output = network.get_layer("block1_conv").output
    if fault == "shapes":
        output = keras.layers.Conv2D(7, 5, name="block2_conv")(output)
    return keras.Model(network.input, output)


@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.skipif(not SHARED_WEIGHTS.is_dir(), reason="needs ../shared/weights")
def test_imagenet_features_are_those_of_keras_on_three_grey_channels() -> None:
    row = get_backbone("vgg16")
    path = str(SHARED_WEIGHTS / row.imagenet_file)
    ours = build_network(row)
    load_weights(ours, path)
    theirs = keras.applications.VGG16(include_top=False, weights=path, input_shape=(256, 256, 3))
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 1)).astype(np.float32)
    scaled = keras.applications.vgg16.preprocess_input(np.repeat(image, 3, axis=-1))
    expected = theirs(scaled).numpy()
    np.testing.assert_allclose(ours(image).numpy(), expected, rtol=1e-3, atol=1e-3)
    assert expected.max() > 1
