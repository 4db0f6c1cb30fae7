"""Weights from a file or a seed, what is wrong with a file, and the node in TFX."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import ml_metadata as mlmd
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from common.errors import InputError
from components.pretrained_backbone import PretrainedBackbone
from components.pretrained_backbone.executor import Executor
from models import backbones
from models.backbones import build_network, get_backbone, load_weights
from models.boundary import load_network
from schema import contract

Execute = Callable[..., Any]
Weights = dict[str, list[np.ndarray]]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights_of(network: keras.Model) -> Weights:
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def _assert_equal(found: Weights, wanted: Weights) -> None:
    assert found.keys() == wanted.keys()
    for name, arrays in wanted.items():
        assert len(found[name]) == len(arrays)
        for array, other in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(array, other, err_msg=name)


def _save_as_keras_applications_do(network: keras.Model, path: Path) -> Path:
    """The layout of the published "notop" files, which isn't that of `save_weights`."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return path


def _application(seed: int) -> keras.Model:
    """As `keras.applications` builds it: RGB in, without this project's layers in front."""
    keras.utils.set_random_seed(seed)
    return keras.applications.Tiny(
        include_top=False, weights=None, input_tensor=keras.Input((64, 64, 3))
    )


@pytest.fixture
def execute(tmp_path: Path, tiny_backbone: str) -> Execute:
    """(settings…) → the model artifact; calls the executor without an orchestrator."""

    def run(name: str = "model", **settings: Any) -> Any:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / name)
        properties = {
            "backbone": tiny_backbone,
            "weights_label": "random",
            "weights_sha256": "",
            "seed": 1,
            "traced_taps": "[]",
            "code_digest": "",
        }
        Executor().Do({}, {"model": [model]}, properties | settings)
        return model

    return run


def _stored(model: Any, backbone: str) -> Weights:
    folder = path_utils.serving_model_path(model.uri)
    network = build_network(get_backbone(backbone))
    load_weights(network, f"{folder}/{contract.BACKBONE_WEIGHTS_FILE}")
    return _weights_of(network)


def test_weights_of_a_file_land_unchanged(
    tmp_path: Path, execute: Execute, tiny_backbone: str
) -> None:
    given = _application(seed=7)
    path = _save_as_keras_applications_do(given, tmp_path / "tiny_notop.h5")
    model = execute(weights_path=str(path), weights_sha256=_digest(path), weights_label="imagenet")
    _assert_equal(_stored(model, tiny_backbone), _weights_of(given))
    assert model.get_string_custom_property("weights") == "imagenet"
    assert model.get_string_custom_property("backbone") == tiny_backbone
    assert model.get_string_custom_property("image_size") == "256"


def test_a_network_is_loaded_at_the_size_of_its_weights(
    tmp_path: Path, execute: Execute, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save_as_keras_applications_do(_application(seed=7), tmp_path / "tiny_small_notop.h5")
    row = dataclasses.replace(get_backbone(tiny_backbone), weights_sizes={path.name: 64})
    monkeypatch.setitem(backbones._TABLE, tiny_backbone, row)
    given = {"weights_path": str(path), "weights_sha256": _digest(path)}

    def last_map(label: str) -> keras.KerasTensor:
        model = execute(f"model-{label}", weights_label=label, **given)
        folder = path_utils.serving_model_path(model.uri)
        return load_network(tiny_backbone, None, "head", folder).maps.output["last"]

    assert last_map(path.name).shape == (None, 3, 3, 24)
    assert last_map("imagenet").shape == (None, 15, 15, 24)


def test_random_weights_follow_the_seed(execute: Execute, tiny_backbone: str) -> None:
    first, same, other = (
        _stored(execute(name, seed=seed), tiny_backbone)
        for name, seed in (("first", 5), ("same", 5), ("other", 6))
    )
    _assert_equal(same, first)
    kernel, other_kernel = first["block1_conv"][0], other["block1_conv"][0]
    assert kernel.std() > 0
    assert not np.array_equal(kernel, other_kernel)


def test_a_file_that_changed_is_refused(tmp_path: Path, execute: Execute) -> None:
    path = _save_as_keras_applications_do(_application(seed=1), tmp_path / "tiny_notop.h5")
    digest = _digest(path)
    _save_as_keras_applications_do(_application(seed=2), path)
    with pytest.raises(InputError, match=r"tiny_notop\.h5 changed"):
        execute(weights_path=str(path), weights_sha256=digest)


def test_a_file_that_is_gone_is_refused(tmp_path: Path, execute: Execute) -> None:
    with pytest.raises(InputError, match=r"tiny_notop\.h5 can't be read"):
        execute(weights_path=str(tmp_path / "tiny_notop.h5"), weights_sha256="0" * 64)


def _wider(path: Path) -> None:
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(13, 5, strides=4, name="block1_conv")(image)
    x = keras.layers.Conv2D(24, 5, strides=4, name="block2_conv")(x)
    _save_as_keras_applications_do(keras.Model(image, x), path)


def _shorter(path: Path) -> None:
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(12, 5, strides=4, name="block1_conv")(image)
    _save_as_keras_applications_do(keras.Model(image, x), path)


def _no_hdf5(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def _other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)


@pytest.mark.parametrize("write", [_wider, _shorter, _no_hdf5, _other_hdf5])
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, execute: Execute, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "tiny_notop.h5"
    write(path)
    with pytest.raises(InputError, match=r"tiny_notop\.h5 doesn't fit tiny"):
        execute(weights_path=str(path), weights_sha256=_digest(path))
    assert not list((tmp_path / "model").rglob("*.h5"))


@pytest.mark.slow
def test_the_node_is_cached_by_the_content_and_says_whose_weights(
    tmp_path: Path, tiny_backbone: str
) -> None:
    path = tmp_path / "tiny_notop.h5"
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(tmp_path / "metadata.db")
    )

    def run() -> mlmd.MetadataStore:
        node = PretrainedBackbone(
            backbone=tiny_backbone,
            weights_path=str(path),
            weights_label=path.name,
            weights_sha256=_digest(path),
            seed=1,
            code_digest="",
        ).with_id("PretrainedBackbone.tiny")
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                "p",
                str(tmp_path / "root"),
                components=[node],
                enable_cache=True,
                metadata_connection_config=connection,
            )
        )
        return mlmd.MetadataStore(connection)

    _save_as_keras_applications_do(_application(seed=1), path)
    (model,) = run().get_artifacts_by_type("Model")
    assert model.custom_properties["weights"].string_value == "tiny_notop.h5"
    assert model.custom_properties["backbone"].string_value == tiny_backbone
    assert len(run().get_artifacts_by_type("Model")) == 1
    _save_as_keras_applications_do(_application(seed=2), path)
    assert len(run().get_artifacts_by_type("Model")) == 2
