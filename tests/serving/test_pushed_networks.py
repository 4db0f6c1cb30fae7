"""Networks that were converted at the push: used by a server, made again where they are damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from models.frozen_function import SavedFile  # noqa: E402
from models.openvino_runtime import import_openvino  # noqa: E402
from models.saved_functions import load_functions  # noqa: E402
from schema import contract  # noqa: E402
from serving.core.model_config import models_in  # noqa: E402
from serving.local_client import latest_version  # noqa: E402
from serving.networks import conversion  # noqa: E402
from serving.networks import store as store_module  # noqa: E402
from serving.networks import versions as versions_module  # noqa: E402
from serving.networks.conversion import NotConvertibleError  # noqa: E402
from serving.networks.places import PUSHED_NETWORKS  # noqa: E402
from serving.networks.probes import probe_pixels  # noqa: E402
from serving.networks.pushing import convert_for  # noqa: E402
from serving.networks.store import Store, version_key  # noqa: E402
from serving.networks.versions import Networks  # noqa: E402
from serving.openvino_export import _highest_versions  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.servable import Servable  # noqa: E402
from serving.servables.tensorflow_servable import TensorFlowServable  # noqa: E402
from tests.golden_run import GoldenRun  # noqa: E402

pytestmark = pytest.mark.slow

BACKBONES = ("vgg16", "xception", "densenet121")
NAMES = (*BACKBONES, "ensemble", "fusion", contract.CHAMPION)


@pytest.fixture(scope="module")
def pushed(golden: GoldenRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serving folder as the run's Pushers left it, without the cascade. Nobody writes into it."""
    serving = tmp_path_factory.mktemp("pushed") / "serving"
    for name in NAMES:
        version = latest_version(golden.layout.serving, name)
        shutil.copytree(version, serving / name / version.name)
    shutil.copytree(golden.layout.serving / PUSHED_NETWORKS, serving / PUSHED_NETWORKS)
    return serving


@pytest.fixture
def serving(pushed: Path, tmp_path: Path) -> Path:
    """A copy, to write into."""
    return Path(shutil.copytree(pushed, tmp_path / "serving"))


@pytest.fixture
def nobody_converts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let whoever converts, or loads a whole SavedModel, fail."""
    monkeypatch.setattr(versions_module, "convert_version", None)
    monkeypatch.setattr(TensorFlowServable, "load", None)
    yield


def _load(serving: Path, name: str, store: Path | None) -> Servable:
    networks = Networks(None if store is None else Store(store))
    return load_servable(latest_version(serving, name), "openvino", "f32", networks)


def _ask(servable: Servable, images: list[bytes]) -> np.ndarray:
    given = {contract.INPUT_IMAGES: strings(images)}
    return servable.run("", given)[contract.OUTPUT_PROBABILITIES]


@pytest.fixture(scope="module")
def saved(expected: Callable[[str], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What models say of the images by TensorFlow; asked before anything is patched.

    What the others say once they are converted, test_networks.py tests.
    """
    names = ("vgg16", "fusion", contract.CHAMPION)
    return {name: expected(name)[contract.OUTPUT_PROBABILITIES] for name in names}


@pytest.fixture(scope="module")
def answered(pushed: Path, images: list[bytes]) -> np.ndarray:
    """VGG16's answers to the images, by what the push converted."""
    return _ask(_load(pushed, "vgg16", None), images)


@pytest.mark.parametrize(
    ("own", "names"),
    # The champion is the ensemble.
    [(True, ("vgg16", "fusion", contract.CHAMPION)), (False, ("vgg16",))],
)
def test_a_server_takes_what_the_push_converted(
    own: bool,
    names: tuple[str, ...],
    pushed: Path,
    nobody_converts: None,
    images: list[bytes],
    saved: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    before = sorted(pushed.rglob("*"))
    for name in names:
        servable = _load(pushed, name, tmp_path / "networks" if own else None)
        assert servable.engine == "openvino-f32"
        np.testing.assert_allclose(_ask(servable, images), saved[name], atol=1e-4)
    assert sorted(pushed.rglob("*")) == before
    kinds = {path.name for path in tmp_path.glob("networks/*")}
    assert kinds == ({"choices"} if own else set())


def test_what_was_chosen_is_not_measured_again(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(pushed, "vgg16", tmp_path)

    def measure(*_: Any) -> None:
        raise NotConvertibleError("asked to measure it")

    monkeypatch.setattr(versions_module, "choose", measure)
    _load(pushed, "vgg16", tmp_path)
    with pytest.raises(NotConvertibleError, match="asked to measure it"):
        Networks(None).load(latest_version(pushed, "vgg16"), "f32")


def test_no_server_and_no_export_takes_the_folder_for_a_model(pushed: Path) -> None:
    assert (pushed / PUSHED_NETWORKS).is_dir()
    assert set(models_in(pushed)) == set(NAMES)
    assert set(_highest_versions(pushed)) == set(NAMES)


def test_a_push_to_a_uri_leaves_the_same_there(pushed: Path, tmp_path: Path) -> None:
    # TensorFlow's own file system in memory: what a bucket is, without a network.
    serving = f"ram://{tmp_path.name}/serving"
    for _ in range(2):
        convert_for(str(latest_version(pushed, "vgg16")), serving)
    copied = tmp_path / "serving" / PUSHED_NETWORKS
    for parent, _, names in tf.io.gfile.walk(f"{serving}/{PUSHED_NETWORKS}"):
        for name in names:
            file = copied / Path(parent).relative_to(f"{serving}/{PUSHED_NETWORKS}") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            tf.io.gfile.copy(f"{parent}/{name}", str(file))
    networks = Store(copied, of_pushes=True)
    version = networks.version(version_key(latest_version(pushed, "vgg16")))
    assert version is not None
    for part in version.networks[0].plan.parts:
        assert networks.read(part)


def test_one_that_is_damaged_is_made_again_in_the_servers_own_folder(
    serving: Path,
    answered: np.ndarray,
    images: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for file in serving.glob(f"{PUSHED_NETWORKS}/parts/*/network.bin"):
        file.write_bytes(file.read_bytes()[:-1])
    found = _ask(_load(serving, "vgg16", tmp_path / "n"), images)
    np.testing.assert_array_equal(found, answered)
    assert "is made again" in caplog.text
    caplog.clear()
    monkeypatch.setattr(versions_module, "convert_version", None)
    found = _ask(_load(serving, "vgg16", tmp_path / "n"), images)
    np.testing.assert_array_equal(found, answered)
    assert caplog.text == ""


def test_a_push_makes_a_damaged_one_again(serving: Path, nobody_converts: None) -> None:
    for file in serving.glob(f"{PUSHED_NETWORKS}/*/*/*"):
        if file.is_file():
            file.write_bytes(b"")
    convert_for(str(latest_version(serving, "vgg16")), str(serving))
    assert _load(serving, "vgg16", None).engine == "openvino-f32"


def test_a_version_that_was_copied_elsewhere_is_converted(
    pushed: Path, answered: np.ndarray, images: list[bytes], tmp_path: Path
) -> None:
    version = latest_version(pushed, "vgg16")
    shutil.copytree(version, tmp_path / "elsewhere" / "vgg16" / version.name)
    found = _ask(_load(tmp_path / "elsewhere", "vgg16", None), images)
    np.testing.assert_array_equal(found, answered)


def test_another_openvino_does_not_take_it(
    pushed: Path, monkeypatch: pytest.MonkeyPatch, nobody_converts: None
) -> None:
    monkeypatch.setattr(import_openvino(), "__version__", "0.0")
    with pytest.raises(TypeError):
        _load(pushed, "vgg16", None)


def test_another_machine_takes_it_and_chooses_anew(
    pushed: Path, nobody_converts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(pushed, "vgg16", tmp_path)
    monkeypatch.setattr(store_module, "CPUINFO", tmp_path / "another")
    _load(pushed, "vgg16", tmp_path)
    assert len(list((tmp_path / "choices").iterdir())) == 2


def test_a_combination_takes_its_members_without_converting_or_asking_them(
    serving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(serving / PUSHED_NETWORKS / "versions")
    for name in ("convert_graph", "convert", "load_convertible"):
        monkeypatch.setattr(conversion, name, None)
    monkeypatch.setattr(tf.compat.v1, "Session", None)
    convert_for(str(latest_version(serving, "ensemble")), str(serving))
    monkeypatch.setattr(versions_module, "convert_version", None)
    assert _load(serving, "ensemble", None).engine == "openvino-f32"


def test_a_conversion_that_fails_is_said_and_stops_no_push(
    pushed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = tmp_path / "1"
    shutil.copytree(latest_version(pushed, "vgg16"), version)
    (version / contract.SAVED_MODEL_FILE).write_bytes(b"none")
    convert_for(str(version), str(tmp_path / "serving"))
    assert "pushed without" in caplog.text
    (tmp_path / "file").touch()
    convert_for(str(latest_version(pushed, "vgg16")), str(tmp_path / "file"))
    assert "can't be kept" in caplog.text


@pytest.mark.parametrize("name", ["vgg16", "fusion"])
def test_a_function_read_from_the_file_answers_as_when_it_is_loaded(
    name: str, pushed: Path
) -> None:
    directory, pixels = str(latest_version(pushed, name)), probe_pixels()[:2]
    found = SavedFile(directory).freeze("network")(pixels)
    loaded = load_functions(directory, ("network",))
    expected = loaded.network(tf.constant(pixels, tf.float32))
    assert set(found) == set(expected)
    for head, answer in expected.items():
        np.testing.assert_allclose(found[head], answer, atol=1e-5)


def test_a_network_is_the_same_alone_and_as_a_member(pushed: Path) -> None:
    ensemble = SavedFile(str(latest_version(pushed, "ensemble")))
    rule = ensemble.rule()
    assert rule is not None
    for number, member in enumerate(rule.members):
        alone = SavedFile(str(latest_version(pushed, member)))
        assert alone.rule() is None
        digest = alone.freeze("network").digest()
        assert ensemble.freeze(f"members/{number}/network").digest() == digest
    with pytest.raises(ValueError, match="no function"):
        ensemble.freeze("members/9/network")
