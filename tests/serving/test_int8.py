"""Int8: quantised after training, chosen only where nothing changes and it is faster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from absl import logging as absl_logging

from common.runtime import prepare_environment

prepare_environment()

import tensorflow as tf  # noqa: E402

from common.digests import digest_of  # noqa: E402
from models.engines import OPENVINO_F32, OPENVINO_INT8, EngineName  # noqa: E402
from models.openvino_runtime import has_int8, low_precision  # noqa: E402
from models.preprocessing import decode_and_resize  # noqa: E402
from schema import contract  # noqa: E402
from serving.networks import int8_push, int8_serving, quantisation  # noqa: E402
from serving.networks.int8_choice import (  # noqa: E402
    Figures,
    Int8Choice,
    UnusableError,
    check_usable,
    network_files,
    read_choice,
)
from serving.networks.int8_judging import Judgement, _timed, judge, verdict  # noqa: E402
from serving.networks.int8_push import choose_int8  # noqa: E402
from serving.networks.quantisation import choose_calibration, quantise_trunks  # noqa: E402
from serving.networks.store import Store  # noqa: E402
from serving.networks.versions import Networks, RunningVersion  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.servables.careful_engine import ALLOWED  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.openvino_servable import OpenVinoServable  # noqa: E402
from serving.servables.servable import Servable  # noqa: E402
from serving.settings import Precision  # noqa: E402

pytestmark = pytest.mark.slow

GOOD = Figures(100, 0, 0.01, 1, 0.1, 0.2, 50, 23.0, 20.0)
needs_int8 = pytest.mark.skipif(not has_int8(), reason="this CPU has neither VNNI nor AMX")


def test_equal_answers_and_the_least_gain_are_enough() -> None:
    chosen, reason = verdict(GOOD)
    assert chosen
    assert "1.15 times as fast, with 20% asked again" in reason


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"classes_changed": 1}, "the class of 1 validation images changes"),
        ({"largest_move": 0.0201}, "a probability moves by 0.020"),
        ({"largest_move": float("nan")}, "a probability moves by nan"),
        ({"images_per_second": 22.9}, "1.15 is asked for"),
        ({"images_per_second": float("nan")}, "1.15 is asked for"),
    ],
)
def test_whatever_is_worse_is_not_chosen(worse: dict[str, Any], why: str) -> None:
    chosen, reason = verdict(replace(GOOD, **worse))
    assert not chosen
    assert why in reason


class _Engine:
    """Answers with the probabilities of the image's number, and moves the clock."""

    def __init__(
        self, name: EngineName, answers: np.ndarray, clock: list[float], seconds: float
    ) -> None:

        self.name = name
        self.asked: list[int] = []
        self._answers, self._clock, self._seconds = answers, clock, seconds

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        rows = images[:, 0, 0, 0].astype(int)
        self.asked += rows.tolist()
        self._clock[0] += self._seconds * len(images)
        return {contract.FLAT: self._answers[rows].astype(np.float32)}

    def compile(self) -> None:
        """Nothing is compiled."""


def _judged(
    monkeypatch: pytest.MonkeyPatch, int8: list[float], exact: list[float], seconds: float
) -> tuple[Judgement, _Engine]:
    """A model whose answer to image i is `exact[i]`, and in int8 `int8[i]`; f32 takes a second."""
    clock = [0.0]

    def engine(name: EngineName, p: list[float], taken: float) -> _Engine:
        return _Engine(name, np.stack([np.array(p), 1 - np.array(p)], -1), clock, taken)

    fast, otherwise = engine(OPENVINO_INT8, int8, seconds), engine(OPENVINO_F32, exact, 1.0)
    monkeypatch.setattr("serving.networks.int8_judging.network_of", lambda *_: otherwise)
    images = np.zeros((len(exact), 1, 1, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(exact))
    version: Any = type("Version", (), {"engine": otherwise, "plan": None, "read": None})
    trunks: Any = None
    return judge(version, fast, images, trunks, clock=lambda: clock[0]), otherwise


def test_the_unsure_are_asked_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # Alone, int8 would change the class of the second.
    found, _ = _judged(monkeypatch, [0.999, 0.45, 0.999, 0.998], [0.999, 0.55, 0.999, 0.998], 0.25)
    assert (found.figures.classes_changed, found.figures.asked_again) == (0, 0.25)
    assert found.figures.largest_move == pytest.approx(0.0, abs=1e-6)
    assert found.figures.classes_changed_alone == 1
    assert found.figures.largest_move_alone == pytest.approx(0.1)
    assert found.figures.gain == pytest.approx(4.0 / (4 * 0.25 + 1))
    assert found.difference == pytest.approx(2 * np.log(0.55 / 0.45))
    assert found.chosen


def test_what_int8_is_sure_of_and_wrong_about_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = _judged(monkeypatch, [1.0, 1.0], [1.0, 0.0], 0.1)
    assert not found.chosen
    assert found.figures.classes_changed == 1


def test_a_gain_that_is_eaten_up_by_asking_again_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = _judged(monkeypatch, [0.5, 0.5, 0.999], [0.55, 0.5, 0.999], 0.5)
    assert (found.chosen, found.figures.classes_changed) == (False, 0)
    assert "asked for" in found.reason


class Pushed(NamedTuple):
    """A version with int8 beside it."""

    folder: Path
    choice: Int8Choice
    images: list[np.ndarray]


def _yes(*given: Any) -> Judgement:
    """Judge, and then choose int8 in any case: miniatures take no time, and gain none."""
    found = judge(*given)
    return replace(found, chosen=True)


@pytest.fixture(scope="module")
def pixels(images: list[bytes]) -> list[np.ndarray]:
    return [decode_and_resize(data).numpy() for data in images]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What was converted and quantised, once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def networks(store: Store) -> Networks:
    """What a server has of the versions and their copies."""
    return Networks(store)


@pytest.fixture(scope="module")
def quantised() -> Iterator[list[Any]]:
    """The networks that were quantised."""
    found: list[Any] = []
    quantise = quantisation.quantise

    def counting(model: Any, images: np.ndarray) -> Any:
        found.append(model)
        return quantise(model, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantisation, "quantise", counting)
        yield found


@pytest.fixture(scope="module")
def pushed(
    versions: dict[str, Path],
    pixels: list[np.ndarray],
    store: Store,
    quantised: list[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Pushed]:
    """Name -> a copy of a version; nobody changes it. Quantised trunks are kept between them."""
    made: dict[str, Pushed] = {}

    def call(name: str) -> Pushed:
        if name not in made:
            folder = tmp_path_factory.mktemp("pushed") / name
            shutil.copytree(versions[name], folder)
            beside = folder / contract.EXTRA_ASSETS
            beside.mkdir(exist_ok=True)
            (folder / contract.SERVING_NOTE_FILE).write_text('{"precision": "int8"}')
            choice = choose_int8(folder, pixels, pixels, beside, store, _yes)
            made[name] = Pushed(folder, choice, pixels)
        return made[name]

    return call


@pytest.fixture(scope="module")
def running(pushed: Callable[[str], Pushed], networks: Networks) -> RunningVersion:
    """One of them as it would be served otherwise."""
    return networks.load(pushed("a").folder, "auto")


def _ask(servable: Servable, images: list[bytes]) -> np.ndarray:
    return servable.run("", {contract.INPUT_IMAGES: strings(images)})[contract.OUTPUT_PROBABILITIES]


@needs_int8
@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", pytest.param("cascade", marks=pytest.mark.long)])
def test_a_version_is_served_in_int8_and_answers_as_in_float32(
    name: str, pushed: Callable[[str], Pushed], images: list[bytes], networks: Networks
) -> None:
    version = pushed(name)
    assert version.choice.chosen
    assert version.choice.figures is not None
    assert version.choice.figures.classes_changed == 0
    assert version.choice.figures.largest_move <= ALLOWED
    assert read_choice(version.folder) == version.choice
    otherwise = load_servable(version.folder, "auto", "f32", networks)
    assert otherwise.engine == OPENVINO_F32
    exact = _ask(otherwise, images)
    served = load_servable(version.folder, networks=networks)
    assert served.engine == OPENVINO_INT8
    found = _ask(served, images)
    assert np.abs(found - exact).max() <= ALLOWED
    np.testing.assert_array_equal(found.argmax(-1), exact.argmax(-1))


@needs_int8
@pytest.mark.slow
def test_the_trunk_is_in_int8_and_its_head_is_not(
    pushed: Callable[[str], Pushed], networks: Networks
) -> None:
    version = pushed("a")
    servable = load_servable(version.folder, networks=networks)
    assert isinstance(servable, OpenVinoServable)
    engine: Any = servable._engine
    images = np.stack(version.images)
    fast, exact = engine._fast(images)[contract.FLAT], engine._exact(images)[contract.FLAT]
    assert 0 < np.abs(fast - exact).max() < 0.3
    (key,) = version.choice.files
    text = (version.folder / contract.EXTRA_ASSETS / network_files(key)[0]).read_text()
    assert "FakeQuantize" in text
    assert 'element_type="i8"' in text
    # The unsure answers are the other engine's, to the bit.
    unsure = engine.is_unsure(fast)
    np.testing.assert_array_equal(engine(images)[contract.FLAT][unsure], exact[unsure])


@needs_int8
@pytest.mark.slow
def test_a_trunk_is_quantised_once_whatever_stands_on_it(
    pushed: Callable[[str], Pushed],
    networks: Networks,
    store: Store,
    quantised: list[Any],
) -> None:
    for name in ("a", "cascade"):
        version = pushed(name)
        running = networks.load(version.folder, "f32")
        calibration = choose_calibration(version.images)
        assert quantise_trunks(running.plan, running.read, calibration, store)
    # Xception's, and DenseNet121's with the cascade.
    assert len(quantised) == 2


def _rewritten(**fields: Any) -> Callable[[Path], object]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text()) | fields
        content.pop("digest")
        file.write_text(json.dumps({**content, "digest": digest_of(content)}))

    return change


def _appended(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b" ")


@needs_int8
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("int8.json", Path.unlink, "int8 wasn't tried when it was pushed; set serve.precision"),
        ("int8.json", lambda file: file.write_text("{"), "can't be read"),
        ("int8.json", lambda file: file.write_text("[]"), "can't be read"),
        (
            "int8.json",
            lambda file: file.write_text(file.read_text().replace("0.0", "0.5", 1)),
            "was changed",
        ),
        ("int8.json", _rewritten(chosen=False, reason="too slow"), "not chosen: too slow"),
        ("int8.json", _rewritten(networks=["0" * 64]), "chosen for another model"),
        ("int8.json", _rewritten(files={}), "chosen for another model"),
        ("int8.json", _rewritten(files={"../x": {}}), "can't be read"),
        ("xml", _appended, "was changed"),
        ("bin", _appended, "was changed"),
        ("bin", Path.unlink, "push the model again"),
    ],
)
def test_what_is_damaged_is_not_used_and_said(
    name: str,
    change: Callable[[Path], object],
    said: str,
    pushed: Callable[[str], Pushed],
    running: RunningVersion,
    tmp_path: Path,
    networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *given: warned.append(text % given))
    version = pushed("a")
    assert running.engine.name == version.choice.otherwise
    folder = _changed(version, tmp_path / "1", name, change)
    for insist in (False, True):
        warned.clear()
        engine = int8_serving.engine_with_int8(folder, running, networks.trunks, insist=insist)
        assert engine is running.engine
        assert any(said in text and "not served in int8" in text for text in warned), warned


def _changed(version: Pushed, folder: Path, name: str, change: Callable[[Path], object]) -> Path:
    """Copy a version, and change a file of its copy."""
    (key,) = version.choice.files
    file = dict(zip(("xml", "bin"), network_files(key), strict=True)).get(name, name)
    shutil.copytree(version.folder, folder)
    change(folder / contract.EXTRA_ASSETS / file)
    return folder


@needs_int8
@pytest.mark.slow
def test_what_is_damaged_is_served_otherwise(
    pushed: Callable[[str], Pushed], images: list[bytes], networks: Networks, tmp_path: Path
) -> None:
    version = pushed("a")
    folder = _changed(version, tmp_path / "1", "bin", Path.unlink)
    exact = _ask(load_servable(version.folder, "auto", "f32", networks), images)
    for precision in ("auto", "int8"):
        servable = load_servable(folder, "auto", precision, networks)
        assert servable.engine == version.choice.otherwise
        assert np.abs(_ask(servable, images) - exact).max() <= ALLOWED


@needs_int8
@pytest.mark.slow
def test_another_cpu_takes_it_only_where_somebody_asks_for_it(
    pushed: Callable[[str], Pushed], networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pushed("a")

    def engine(precision: Precision) -> str:
        return load_servable(version.folder, "auto", precision, networks).engine

    monkeypatch.setattr(int8_serving, "low_precision", lambda: ["amx_int8"])
    assert engine("auto") == version.choice.otherwise
    assert engine("int8") == OPENVINO_INT8
    monkeypatch.setattr(int8_serving, "has_int8", lambda: False)
    assert engine("auto") == version.choice.otherwise
    assert engine("int8") == version.choice.otherwise


@needs_int8
@pytest.mark.slow
def test_another_openvino_takes_it_never(
    versions: dict[str, Path], pushed: Callable[[str], Pushed], networks: Networks
) -> None:
    choice = pushed("a").choice
    plan = networks.load(versions["a"], "f32").plan
    check_usable(choice, plan, low_precision(), False)
    other = replace(choice, machine=replace(choice.machine, openvino="1999.1"))
    with pytest.raises(UnusableError, match=r"with OpenVINO 1999\.1"):
        check_usable(other, plan, low_precision(), True)


@pytest.mark.slow
def test_a_cpu_without_int8_doesnt_try(
    versions: dict[str, Path],
    pixels: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8_push, "has_int8", lambda: False)
    monkeypatch.setattr(int8_push, "quantise_trunks", None)
    choice = choose_int8(versions["a"], pixels, pixels, tmp_path, None)
    assert not choice.chosen
    assert "neither VNNI nor AMX" in choice.reason
    assert [file.name for file in tmp_path.iterdir()] == ["int8.json"]


@needs_int8
@pytest.mark.slow
def test_what_isnt_chosen_leaves_the_figures_and_no_networks(
    versions: dict[str, Path],
    pixels: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantisation, "quantise", lambda model, _: model)
    figures = replace(GOOD, images_per_second=20.5)

    def slow(*given: Any) -> Judgement:
        return Judgement(*verdict(figures), 1.0, figures)

    choice = choose_int8(versions["a"], pixels, pixels, tmp_path, None, slow)
    assert not choice.chosen
    assert [file.name for file in tmp_path.iterdir()] == ["int8.json"]
    written = json.loads((tmp_path / "int8.json").read_text())
    assert written["figures"]["gain"] == pytest.approx(20.5 / 20)
    assert written["machine"]["nncf"]


@pytest.mark.slow
def test_a_split_without_images_or_another_model_is_no_reason_to_stop(
    versions: dict[str, Path], pixels: list[np.ndarray], tmp_path: Path
) -> None:
    assert not choose_int8(versions["a"], pixels, [], tmp_path, None).chosen
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    assert not choose_int8(tmp_path / "other", pixels, pixels, tmp_path, None).chosen


def test_calibration_is_a_fixed_sample() -> None:
    images = [np.full((256, 256, 1), index % 251, np.uint8) for index in range(300)]
    first, second = choose_calibration(images), choose_calibration(images)
    assert first.shape == (128, 256, 256, 1)
    np.testing.assert_array_equal(first, second)
    assert len(choose_calibration(images[:5])) == 5


@pytest.mark.parametrize(("images", "unsure"), [(1, 1), (10, 0), (10, 10), (400, 100), (400, 1)])
def test_timed_images_are_as_often_unsure_as_all(images: int, unsure: int) -> None:
    kinds = np.zeros(images, bool)
    kinds[:unsure] = True
    timed = _timed(kinds)
    assert len(timed) == len(set(timed)) == min(images, 48)
    assert abs(kinds[timed].sum() - len(timed) * unsure / images) <= 0.5
