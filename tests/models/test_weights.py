"""Where pre-trained weights are looked for, in which order, and what they are called."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.keras_home import OWN_KERAS_HOME, keras_cache
from models.backbones import BACKBONES
from models.weights import (
    IMAGENET,
    WeightsSource,
    find_weights,
    missing_weights_error,
)

ROOT = Path(__file__).parents[2]
VGG = BACKBONES["vgg16"]
OTHER = "vgg16_paediatric_notop.h5"


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KERAS_HOME."""
    home = tmp_path / "keras"
    monkeypatch.delenv(OWN_KERAS_HOME, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty --weights-dir."""
    path = tmp_path / "weights"
    path.mkdir()
    return path


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_imagenet_name_then_other_training_then_cache_then_nothing(
    folder: Path, keras_home: Path
) -> None:
    imagenet = _write(folder / VGG.imagenet_file, b"imagenet")
    other = _write(folder / OTHER, b"other")
    cached = _write(keras_home / "models" / VGG.imagenet_file, b"cached")

    assert find_weights(VGG, folder) == WeightsSource("imagenet", imagenet, _digest(b"imagenet"))
    imagenet.unlink()
    assert find_weights(VGG, folder) == WeightsSource(OTHER, other, _digest(b"other"))
    other.unlink()
    assert find_weights(VGG, folder) == WeightsSource("imagenet", cached, _digest(b"cached"))
    assert find_weights(VGG, None) == WeightsSource("imagenet", cached, _digest(b"cached"))
    cached.unlink()
    assert find_weights(VGG, folder) is None
    assert find_weights(VGG, None) is None


def test_files_of_other_backbones_and_with_a_top_do_not_count(folder: Path) -> None:
    for name in (
        BACKBONES["xception"].imagenet_file,
        "xception_own_notop.h5",
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "vgg16_own_notop.txt",
        "vgg16notop.h5",
    ):
        _write(folder / name, b"x")
    assert find_weights(VGG, folder) is None


def test_a_folder_of_a_fitting_name_is_no_candidate(folder: Path) -> None:
    (folder / OTHER).mkdir()
    (folder / VGG.imagenet_file).mkdir()
    assert find_weights(VGG, folder) is None


def test_several_candidates_are_an_error_that_names_them(folder: Path) -> None:
    second = "vgg16_adult_notop.h5"
    _write(folder / OTHER, b"a")
    _write(folder / second, b"b")
    with pytest.raises(InputError, match="several weights for vgg16") as caught:
        find_weights(VGG, folder)
    for name in (str(folder), OTHER, second, VGG.imagenet_file):
        assert name in str(caught.value)
    _write(folder / VGG.imagenet_file, b"c")
    source = find_weights(VGG, folder)
    assert source is not None
    assert source.label == IMAGENET


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_weights_dir_that_is_no_folder_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    if kind == "file":
        path.write_bytes(b"x")
    with pytest.raises(InputError, match=re.escape(f"weights-dir: {path} is not a folder")):
        find_weights(VGG, path)


def test_digest_of_a_file_longer_than_a_chunk(folder: Path) -> None:
    content = bytes(range(256)) * 4096 + b"tail"
    _write(folder / OTHER, content)
    source = find_weights(VGG, folder)
    assert source is not None
    assert source.sha256 == _digest(content)


def test_a_linked_file_keeps_the_label_of_its_name(folder: Path, tmp_path: Path) -> None:
    target = _write(tmp_path / "blobs" / "0123", b"linked")
    (folder / VGG.imagenet_file).symlink_to(target)
    assert find_weights(VGG, folder) == WeightsSource("imagenet", target, _digest(b"linked"))


@pytest.mark.parametrize("variable", ["KERAS_HOME", "HOME"])
def test_cache_is_the_folder_that_keras_itself_uses(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of a second copy of its module: Keras reads the environment when it is imported."""
    from keras.src.backend import config

    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv(variable, str(tmp_path))
    # It is to stand beside the first one, and not for it.
    monkeypatch.setattr("keras.src.api_export.keras_export", lambda _: lambda symbol: symbol)
    spec = importlib.util.spec_from_file_location("keras_again", config.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    home = tmp_path if variable == "KERAS_HOME" else tmp_path / ".keras"
    assert Path(again.keras_home()) == home
    assert keras_cache() == home / "models"


def test_the_cache_stays_where_it_is_while_keras_home_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(OWN_KERAS_HOME, str(tmp_path / "own"))
    assert keras_cache() == tmp_path / "own" / "models"


def test_error_for_missing_weights_says_where_and_what(folder: Path, keras_home: Path) -> None:
    message = str(missing_weights_error(VGG, folder, "no route to host"))
    for part in (str(folder), str(keras_cache()), "no route to host", VGG.imagenet_file):
        assert part in message
    assert "no --weights-dir given" in str(missing_weights_error(VGG, None, "x"))


def test_looking_for_weights_imports_neither_tensorflow_nor_keras() -> None:
    program = (
        "import sys, models.backbones as b, models.hyperparameters as h, models.weights as w;"
        "h.TrainingParams(); w.find_weights(b.get_backbone('vgg16'), None);"
        "print({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'h5py', 'tfx'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
