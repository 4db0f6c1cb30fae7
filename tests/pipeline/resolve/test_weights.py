"""Which weights a run takes, and what happens where there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from common.runtime import scratch_below
from models import backbones
from models.backbones import get_backbone
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.resolve.weights import resolve_weights


@pytest.fixture(autouse=True)
def empty_keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def _config(preset: str, **fields: Any) -> PipelineConfig:
    overrides = {"data": {"dir": "images"}, "backbones": ["vgg16"], **fields}
    return load_config(preset=preset, overrides=overrides)


def _publish(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Have the table of backbones know VGG16's file as one of this content."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    row = replace(get_backbone("vgg16"), imagenet_md5=digest)
    monkeypatch.setitem(backbones._TABLE, "vgg16", row)


def _answer(content: bytes) -> Callable[..., None]:
    """Make a download that answers each URL with this content."""

    def urlretrieve(url: str, target: str, *_: Any) -> None:
        assert url == get_backbone("vgg16").imagenet_url
        Path(target).write_bytes(content)

    return urlretrieve


def test_demo_goes_on_with_random_weights_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    tried: list[str] = []

    def offline(name: str, *_: Any, **__: Any) -> str:
        tried.append(name)
        raise Exception("URL fetch failure")

    def build(**_: Any) -> None:
        raise AssertionError("a network is built for weights that nobody can download")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    monkeypatch.setattr(keras.applications, "VGG16", build)
    warnings: list[str] = []
    sources = resolve_weights(_config("demo"), warnings.append)
    assert tried == ["vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"]
    assert sources["vgg16"].label == "random"
    assert len(warnings) == 1
    assert "RANDOM" in warnings[0]
    assert "vgg16" in warnings[0]


def test_other_presets_stop_where_the_download_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def offline(*_: Any, **__: Any) -> str:
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(InputError, match=r"vgg16_weights_tf_dim_ordering.*--weights-dir"):
        resolve_weights(_config("fast"), lambda _: None)


def test_a_file_of_other_pretraining_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "vgg16_paediatric_notop.h5").write_bytes(b"x")
    warnings: list[str] = []
    config = _config("demo", weights_dir=tmp_path)
    source = resolve_weights(config, warnings.append)["vgg16"]
    assert source.label == "vgg16_paediatric_notop.h5"
    assert warnings == []


def test_a_download_is_taken_from_keras_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", _answer(b"w"))
    _publish(monkeypatch, b"w")
    source = resolve_weights(_config("fast"), lambda _: None)["vgg16"]
    assert source.label == "imagenet"
    assert isinstance(source.path, Path)
    assert source.path.parent == tmp_path / "keras" / "models"
    assert source.sha256 == hashlib.sha256(b"w").hexdigest()


def test_a_download_that_is_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", _answer(b"broken"))
    _publish(monkeypatch, b"w")
    with pytest.raises(InputError, match=r"vgg16.*the download failed \(.*corrupted"):
        resolve_weights(_config("fast"), lambda _: None)


def test_a_download_into_a_runs_scratch_folder_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, b"w")
    with scratch_below(tmp_path):
        monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", _answer(b"w"))
        source = resolve_weights(_config("fast"), lambda _: None)["vgg16"]
    assert isinstance(source.path, Path)
    assert source.path.parent == tmp_path / "keras" / "models"
    assert source.path.is_file()


def test_weights_that_cannot_be_read_are_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / name).write_bytes(b"w")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    config = _config("fast", weights_dir=tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=rf"{name}.*Permission denied"):
        resolve_weights(config, lambda _: None)
